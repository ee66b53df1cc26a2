"""Every form in which people have ImageNet gives the same shards, and says what is wrong."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.shards import open_split, read_manifest
from tests.data_prep.sources import miniatures
from tests.data_prep.sources.miniatures import Miniature, miniature

WNIDS = ["n02085620", "n01440764", "n03126707", "n01443537"]
FLAGS = ("--check", "header", "--workers", 1, "--samples-per-shard", 5, "--allow-partial")
BUILDERS = {
    "archives": miniatures.archives,
    "kaggle": miniatures.kaggle,
    "imagefolder": miniatures.imagefolder,
    "parquet": miniatures.parquet,
    "webdataset": miniatures.webdataset_tars,
}

Shard = Callable[..., Any]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="session")
def photographs(jpeg: Callable[..., bytes]) -> list[bytes]:
    """Real ones where there are some, else noise."""
    folder = os.environ.get("SAMPLE_PHOTOS")
    if folder:
        return [path.read_bytes() for path in sorted(Path(folder).rglob("*.JPEG"))[:30]]
    return [jpeg(seed, 20 + seed) for seed in range(30)]


@pytest.fixture(scope="session")
def mini(photographs: list[bytes]) -> Miniature:
    return miniature(photographs, WNIDS, seed=1)


@pytest.fixture(scope="session")
def sources(mini: Miniature, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Layout -> folder."""
    root = tmp_path_factory.mktemp("sources")
    found = {name: build(mini, root / name) for name, build in BUILDERS.items()}
    found["parquet with ImageNet's labels"] = miniatures.parquet(
        mini, root / "parquet1000", labels=imagenet_labels(), with_test=True
    )
    found["webdataset with json"] = miniatures.webdataset_tars(
        mini, root / "json", with_json=True, validation_digits=2, labels=imagenet_labels()
    )
    return found


def imagenet_labels() -> dict[str, int]:
    every = (Path(__file__).parents[3] / "data_prep/imagenet1k_wnids.txt").read_text().split()
    return {wnid: every.index(wnid) for wnid in WNIDS}


def shards_of(folder: dict[str, bytes]) -> dict[str, bytes]:
    return {n: b for n, b in folder.items() if n.endswith((".tar", ".idx", "_info.json"))}


@pytest.mark.parametrize(
    "layout", [*BUILDERS, "parquet with ImageNet's labels", "webdataset with json"]
)
def test_each_layout_is_named_and_gives_the_same_bytes(
    layout: str,
    sources: dict[str, Path],
    mini: Miniature,
    tmp_path: Path,
    shard: Shard,
    contents: Contents,
) -> None:
    ran = shard(sources["imagefolder"], tmp_path / "folder", *FLAGS)
    assert ran.code == 0, ran.err
    ran = shard(sources[layout], tmp_path / "out", *FLAGS)
    assert ran.code == 0, ran.err
    assert f"has the layout {layout.split()[0]}" in ran.err
    assert shards_of(contents(tmp_path / "out")) == shards_of(contents(tmp_path / "folder"))
    manifest = read_manifest(tmp_path / "out")
    assert manifest.dataset == "imagenet1k"
    assert manifest.classes == sorted(WNIDS)
    for split, images in (("train", mini.train), ("validation", mini.val)):
        assert manifest.splits[split].source["layout"] == layout.split()[0]
        opened = open_split(tmp_path / "out", split)
        labels = opened.labels(np.arange(len(opened)))
        found = {
            (manifest.classes[labels[i]], opened.name(i)[0]): opened.read(i).tobytes()
            for i in range(len(opened))
        }
        assert found == {(w, stem): image for w in images for stem, image in images[w].items()}


@pytest.mark.parametrize("layout", BUILDERS)
def test_labels_can_be_imagenets(
    layout: str, sources: dict[str, Path], tmp_path: Path, shard: Shard
) -> None:
    ran = shard(sources[layout], tmp_path / "out", *FLAGS, "--classes", "imagenet1k")
    assert ran.code == 0, ran.err
    assert "labels are those of ImageNet-1k, 0 to 999, of whose classes 4 are present" in ran.err
    opened = open_split(tmp_path / "out", "validation")
    assert set(opened.labels(np.arange(len(opened)))) == set(imagenet_labels().values())
    assert len(opened.classes) == 1000


@pytest.mark.parametrize("layout", BUILDERS)
def test_a_split_alone(layout: str, sources: dict[str, Path], tmp_path: Path, shard: Shard) -> None:
    ran = shard(sources[layout], tmp_path / "out", *FLAGS, "--split", "validation")
    assert ran.code == 0, ran.err
    manifest = read_manifest(tmp_path / "out")
    assert list(manifest.splits) == ["validation"]
    assert manifest.classes == sorted(WNIDS)


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


def test_the_folders_of_splits_and_single_archives_are_sources_too(
    sources: dict[str, Path], mini: Miniature, tmp_path: Path, shard: Shard
) -> None:
    digests: set[str] = set()
    for number, path in enumerate(
        (
            sources["archives"] / "ILSVRC2012_img_val.tar",
            sources["kaggle"] / "ILSVRC/Data/CLS-LOC",
            sources["parquet"] / "data",
            miniatures.imagefolder(mini, tmp_path / "valid", val_name="valid"),
            miniatures.imagefolder(mini, tmp_path / "eval", val_name="eval"),
        )
    ):
        ran = shard(path, tmp_path / str(number), *FLAGS)
        assert ran.code == 0, ran.err
        digests.add(read_manifest(tmp_path / str(number)).splits["validation"].digest)
    assert len(digests) == 1


def test_our_own_shards_come_out_as_they_went_in(
    sources: dict[str, Path], tmp_path: Path, shard: Shard, contents: Contents
) -> None:
    for classes in ((), ("--classes", "imagenet1k")):
        first, second = tmp_path / f"a{len(classes)}", tmp_path / f"b{len(classes)}"
        assert shard(sources["kaggle"], first, *FLAGS, *classes).code == 0
        assert shard(first, second, *FLAGS).code == 0
        assert shards_of(contents(first)) == shards_of(contents(second))
        assert read_manifest(first).classes == read_manifest(second).classes


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


def test_a_class_list_of_synsets_with_words(
    sources: dict[str, Path], tmp_path: Path, shard: Shard
) -> None:
    listed = ["n03126707", *sorted(set(WNIDS) - {"n03126707"})]
    lines = [f"{wnid} some words, and more" for wnid in listed]
    (tmp_path / "synsets.txt").write_text("\n".join(lines))
    for layout in BUILDERS:
        ran = shard(sources[layout], layout, *FLAGS, "--classes", "synsets.txt")
        assert ran.code == 0, ran.err
        assert read_manifest(tmp_path / layout).classes == listed
    (tmp_path / "short.txt").write_text("n01440764")
    ran = shard(sources["archives"], "short", *FLAGS, "--classes", "short.txt")
    assert ran.code == 4
    assert "has 3 classes that --classes lacks" in ran.err


def test_json_tells_the_layout(sources: dict[str, Path], shard: Shard) -> None:
    ran = shard(sources["kaggle"], "out", *FLAGS, "--json")
    assert json.loads(ran.out)["layout"] == "kaggle"


def test_parquet_too_large_for_memory_is_unpacked_once(
    sources: dict[str, Path],
    mini: Miniature,
    tmp_path: Path,
    shard: Shard,
    contents: Contents,
) -> None:
    assert shard(sources["parquet"], tmp_path / "cached", *FLAGS).code == 0
    # More images than row groups, and no room to keep these: as with ImageNet itself.
    program = (
        "import os, sys; from data_prep.sources import row_groups as r; r._CACHED_BYTES = 0\n"
        "kept = r.UnpackedReader._unpack\n"
        "def told(self, i):\n"
        "    line = f'unpacks {self.folder.parent.name} {i}\\n'.encode()\n"
        "    if not self._index(i).exists(): os.write(1, line)\n"
        "    kept(self, i)\n"
        "r.UnpackedReader._unpack = told\n"
        "from data_prep.shard import main; sys.exit(main())"
    )
    flags = [*map(str, FLAGS), "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-c", program, sources["parquet"], tmp_path / "unpacked", *flags],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = sorted(done.stdout.splitlines())
    assert told == ["unpacks .work-train 0", "unpacks .work-train 1", "unpacks .work-validation 0"]
    assert contents(tmp_path / "unpacked") == contents(tmp_path / "cached")


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
