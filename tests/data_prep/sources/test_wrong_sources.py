"""Sources that are not what they should be: said by name, with the way out."""

import gzip
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data_prep.sources import miniatures
from tests.data_prep.sources.conftest import WNIDS
from tests.data_prep.sources.miniatures import Miniature

FLAGS = ("--check", "header", "--workers", 1, "--samples-per-shard", 5, "--allow-partial")

Shard = Callable[..., Any]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.mark.parametrize("layout", ["archives", "kaggle"])
def test_an_incomplete_imagenet_is_refused(
    layout: str, sources: dict[str, Path], tmp_path: Path, shard: Shard
) -> None:
    ran = shard(sources[layout], tmp_path / "out", "--check", "header")
    assert ran.code == 4
    for said in ("lacks 996 classes", "instead of 1,281,167", "instead of 50,000", "732 to 1,300"):
        assert said in ran.err
    assert "--allow-partial" in ran.err
    assert not (tmp_path / "out").exists()


def test_another_tasks_archive_is_refused_by_name(
    sources: dict[str, Path], tmp_path: Path, shard: Shard
) -> None:
    (tmp_path / "dogs").mkdir()
    shutil.copy(
        sources["archives"] / "ILSVRC2012_img_train.tar",
        tmp_path / "dogs" / "ILSVRC2012_img_train_t3.tar",
    )
    for source in ("dogs", "dogs/ILSVRC2012_img_train_t3.tar"):
        ran = shard(source, "out", *FLAGS)
        assert ran.code == 2
        assert "ILSVRC2012_img_train_t3.tar, the dogs of task 3" in ran.err


def test_validation_without_its_devkit(
    sources: dict[str, Path], tmp_path: Path, shard: Shard
) -> None:
    (tmp_path / "only").mkdir()
    shutil.copy(sources["archives"] / "ILSVRC2012_img_val.tar", tmp_path / "only")
    ran = shard("only", "out", *FLAGS)
    assert ran.code == 2
    assert "put ILSVRC2012_devkit_t12.tar.gz beside it" in ran.err


@pytest.mark.parametrize("name", ["ILSVRC2012_img_train.tar", "ILSVRC2012_devkit_t12.tar.gz"])
def test_an_archive_that_was_cut_short(
    name: str, mini: Miniature, tmp_path: Path, shard: Shard
) -> None:
    source = miniatures.archives(mini, tmp_path / "cut")
    with (source / name).open("r+b") as file:
        file.truncate((source / name).stat().st_size * 2 // 3)
    ran = shard(source, "out", *FLAGS)
    assert ran.code == 4
    assert name in ran.err
    assert "download it again" in ran.err
    assert "Traceback" not in ran.err


def test_kaggle_without_its_solution(mini: Miniature, tmp_path: Path, shard: Shard) -> None:
    source = miniatures.kaggle(mini, tmp_path / "kaggle")
    (source / "LOC_val_solution.csv").unlink()
    ran = shard(source, "out", *FLAGS)
    assert ran.code == 2
    assert "LOC_val_solution.csv is missing" in ran.err


def test_labels_out_of_order_are_refused(mini: Miniature, tmp_path: Path, shard: Shard) -> None:
    labels = {wnid: 3 - rank for rank, wnid in enumerate(sorted(WNIDS))}
    for build in (miniatures.parquet, miniatures.webdataset_tars):
        source = build(mini, tmp_path / build.__name__, labels=labels)
        ran = shard(source, "out", *FLAGS)
        assert ran.code == 4, ran.err
        assert "labels do not follow the sorted WordNet ids (label 0 is n03126707" in ran.err


def test_several_layouts_in_one_folder_must_be_chosen_from(
    mini: Miniature, tmp_path: Path, shard: Shard
) -> None:
    source = miniatures.archives(mini, tmp_path / "both")
    miniatures.imagefolder(mini, source)
    ran = shard(source, "out", *FLAGS)
    assert ran.code == 2
    assert "several layouts: archives, imagefolder; say which one is meant with --layout" in ran.err
    assert shard(source, "out", *FLAGS, "--layout", "archives").code == 0


def test_tars_without_labels_are_refused(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "train-0.tar", "w") as tar:
        tar.add(__file__, "sample.txt")
    ran = shard("tars", "out", *FLAGS)
    assert ran.code == 4
    assert "no sample of train-0.tar has .jpg and .cls" in ran.err


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "names no class"), ("ant\nbee\nant\n", "names ant twice"), (None, "cannot be read")],
)
def test_class_lists_that_are_wrong(
    text: str | None, said: str, sources: dict[str, Path], tmp_path: Path, shard: Shard
) -> None:
    if text is not None:
        (tmp_path / "classes.txt").write_text(text)
    ran = shard(sources["imagefolder"], "out", *FLAGS, "--classes", "classes.txt")
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.parametrize(
    ("labels", "code", "said"),
    [
        ([0.5, 1.0], 2, "the column label holds double"),
        (["n01440764", "n01443537"], 2, "the column label holds string"),
        ([True, False], 2, "the column label holds bool"),
        ([0, None], 4, "1 row without a label"),
        ([0, 2**40], 4, "labels count classes"),
        ([0, -1], 4, "has the label -1"),
    ],
)
def test_labels_that_are_no_class_numbers(
    labels: list[Any], code: int, said: str, tmp_path: Path, photographs: list[bytes], shard: Shard
) -> None:
    import pyarrow
    import pyarrow.parquet

    images = [{"bytes": image, "path": f"{i}.jpg"} for i, image in enumerate(photographs[:2])]
    (tmp_path / "files").mkdir()
    table = pyarrow.table({"image": images, "label": labels})
    pyarrow.parquet.write_table(table, tmp_path / "files" / "train-00000-of-00002.parquet")
    ran = shard("files", "out", *FLAGS)
    assert ran.code == code, ran.err
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_part_that_is_missing_by_its_name_is_told(
    mini: Miniature, tmp_path: Path, shard: Shard
) -> None:
    source = miniatures.parquet(mini, tmp_path / "parts")
    (source / "data" / "train-00000-of-00002.parquet").unlink()
    ran = shard(source, "out", *FLAGS)
    assert "warning: SOURCE lacks train-00000-of-00002.parquet" in ran.err


def test_a_compressed_tar_is_told(mini: Miniature, tmp_path: Path, shard: Shard) -> None:
    source = miniatures.archives(mini, tmp_path / "packed")
    plain = (source / "ILSVRC2012_img_train.tar").read_bytes()
    (source / "ILSVRC2012_img_train.tar").write_bytes(gzip.compress(plain))
    ran = shard(source, "out", *FLAGS)
    assert ran.code == 4
    assert "is compressed, and images are read in place; decompress it: gunzip" in ran.err


def test_a_damaged_row_group_is_told(mini: Miniature, tmp_path: Path, shard: Shard) -> None:
    source = miniatures.parquet(mini, tmp_path / "damaged", files=1)
    (path,) = (source / "data").glob("train-*.parquet")
    content = bytearray(path.read_bytes())
    # The pages, not the footer that says where they are.
    content[200 : len(content) // 2] = bytes(len(content) // 2 - 200)
    path.write_bytes(content)
    ran = shard(source, "out", *FLAGS)
    assert ran.code == 4, ran.err
    assert path.name in ran.err
    assert "Traceback" not in ran.err
    assert "None" not in ran.err


def test_a_parquet_source_that_grew_is_refused_for_just_that(
    mini: Miniature, tmp_path: Path, shard: Shard
) -> None:
    source = miniatures.parquet(mini, tmp_path / "grown")
    kept = source / "data" / "train-00001-of-00002.parquet"
    away = kept.rename(tmp_path / "away.parquet")
    assert shard(source, "out", *FLAGS).code == 0
    away.rename(kept)
    ran = shard(source, "out", *FLAGS)
    assert ran.code == 2
    assert "added" in ran.err
    assert "of another size" not in ran.err, "the sizes of a listing are estimates there"
