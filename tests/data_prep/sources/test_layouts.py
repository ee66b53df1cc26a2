"""Every form in which people have ImageNet gives the same shards."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.shards import open_split, read_manifest
from tests.data_prep.sources import miniatures
from tests.data_prep.sources.conftest import BUILDERS, WNIDS, imagenet_labels
from tests.data_prep.sources.miniatures import Miniature

FLAGS = ("--check", "header", "--workers", 1, "--samples-per-shard", 5, "--allow-partial")

Shard = Callable[..., Any]
Contents = Callable[[Path], dict[str, bytes]]


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
    assert set(opened.labels(np.arange(len(opened)))) == set(imagenet_labels(WNIDS).values())
    assert len(opened.classes) == 1000


@pytest.mark.parametrize("layout", BUILDERS)
def test_a_split_alone(layout: str, sources: dict[str, Path], tmp_path: Path, shard: Shard) -> None:
    ran = shard(sources[layout], tmp_path / "out", *FLAGS, "--split", "validation")
    assert ran.code == 0, ran.err
    manifest = read_manifest(tmp_path / "out")
    assert list(manifest.splits) == ["validation"]
    assert manifest.classes == sorted(WNIDS)


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
