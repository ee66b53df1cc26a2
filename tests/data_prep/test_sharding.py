"""The whole command on small folders: what it writes, and that it writes the same again."""

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
from PIL import Image

from pipeline.shards import index_name, open_split, read_manifest

Shard = Callable[..., Any]
Tree = Callable[..., Path]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def written(pets: Path, tmp_path: Path, shard: Shard) -> Path:
    out = tmp_path / "out"
    ran = shard(pets, out, "--samples-per-shard", 5, "--check", "header", "--workers", 1)
    assert ran.code == 0, ran.err
    return out


def test_names_and_members(written: Path) -> None:
    names = sorted(path.name for path in written.iterdir())
    tars = [f"pets-train-{k:04d}" for k in range(5)] + [
        f"pets-validation-{k:04d}" for k in range(2)
    ]
    assert names == sorted(
        [f"{tar}.{suffix}" for tar in tars for suffix in ("tar", "idx")]
        + [f"pets-{s}.{f}" for s in ("train", "validation") for f in ("samples.npy", "names.bin")]
        + ["manifest.json", "_info.json", "sizes.json"]
    )
    for tar in tars:
        with tarfile.open(written / f"{tar}.tar") as archive:
            members = archive.getnames()
        images = [name.removesuffix(".jpg") for name in members[::2]]
        assert members == [f"{key}.{suffix}" for key in images for suffix in ("jpg", "cls")]


def test_indexes_are_those_of_wds2idx(written: Path, tmp_path: Path) -> None:
    script = shutil.which("wds2idx", path=Path(sys.executable).parent)
    if script is None:
        pytest.skip("nvidia-dali is not installed")
    for tar in written.glob("*.tar"):
        subprocess.run([script, tar, tmp_path / "their.idx"], check=True, capture_output=True)
        ours = written / index_name(tar.name)
        assert ours.read_bytes() == (tmp_path / "their.idx").read_bytes()


@pytest.mark.parametrize(("split", "folder"), [("train", "train"), ("validation", "val")])
def test_every_sample_comes_back(written: Path, pets: Path, split: str, folder: str) -> None:
    opened = open_split(written, split)
    names = [opened.name(i)[1] for i in range(len(opened))]
    files = {str(p.relative_to(pets / folder)): p for p in (pets / folder).rglob("*.jpg")}
    assert sorted(names) == sorted(files)
    assert opened.classes == ["ant", "bee", "cat"]
    for i, name in enumerate(names):
        assert opened.read(i).tobytes() == files[name].read_bytes()
        assert opened.name(i)[0] == Path(name).stem
    ids = np.arange(len(opened))
    for (width, height), name in zip(opened.sizes(ids), names, strict=True):
        with Image.open(files[name]) as image:
            assert image.size == (width, height)
    assert [opened.classes[i] for i in opened.labels(ids)] == [name[:3] for name in names]
    counts = read_manifest(written).splits[split].class_counts
    assert counts == [len(files) // 3] * 3


@pytest.mark.parametrize(("check", "workers"), [("full", 2), ("header", 3)])
def test_workers_do_not_change_a_byte(
    pets: Path,
    tmp_path: Path,
    shard: Shard,
    shard_process: Shard,
    contents: Contents,
    check: str,
    workers: int,
) -> None:
    if check == "full":
        pytest.importorskip("nvidia.dali")
    (pets / "train" / "ant" / "bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    flags = ("--samples-per-shard", 5, "--seed", 9, "--check", check)
    for run, out, count in ((shard, "one", 1), (shard_process, "more", workers)):
        ran = run(pets, tmp_path / out, *flags, "--workers", count)
        assert ran.code == 0, ran.err
    assert contents(tmp_path / "one") == contents(tmp_path / "more")


def test_the_seed_moves_train_only(written: Path, pets: Path, tmp_path: Path, shard: Shard) -> None:
    other = tmp_path / "other"
    flags = ("--samples-per-shard", 5, "--check", "header", "--seed", 1, "--workers", 1)
    assert shard(pets, other, *flags).code == 0
    before, after = read_manifest(written), read_manifest(other)
    assert before.splits["train"].digest != after.splits["train"].digest
    assert before.splits["validation"].digest == after.splits["validation"].digest


def test_json_stands_alone_on_stdout(pets: Path, tmp_path: Path, shard: Shard) -> None:
    ran = shard(pets, "--check", "header", "--json", "--workers", 1)
    assert ran.json["out"] == "shards/pets"
    assert ran.json["splits"]["train"]["samples"] == 21
    assert ran.json["next"].endswith("data.root=shards/pets model.num_classes=3")
    assert (tmp_path / "shards" / "pets" / "manifest.json").is_file()


def test_wnid_folders_are_imagenet(tree: Tree, tmp_path: Path, shard: Shard) -> None:
    wnids = ("n01440764", "n01443537")
    names = [f"{wnids[i % 2]}/{wnids[i % 2]}_{i}.JPEG" for i in range(8)]
    source = tree({f"train/{name}": None for name in names}, name="ILSVRC")
    ran = shard(source, "--check", "header", "--workers", 1)
    assert ran.code == 0
    assert "no validation images: only train is written" in ran.err
    assert (tmp_path / "shards/imagenet1k/imagenet1k-train-0003.tar").is_file()
    assert "next: python data_prep/shard.py SOURCE shards/imagenet1k --split validation" in ran.err


def test_equal_names_and_odd_names_come_through(tree: Tree, tmp_path: Path, shard: Shard) -> None:
    odd = [
        "0005.jpg",
        "carpenter's_kit.JPEG",
        "a b.c.jpg",
        'q"uote.PNG',
        "été.jpeg",
        "new\nline.jpg",
    ]
    files = {f"{folder}/{name}": None for folder in ("ant", "bee x", "ü") for name in odd}
    source = tree(files, name="odd")
    raw = os.fsdecode(b"\xff\xfe.jpg")
    shutil.copy(source / "ant" / "0005.jpg", source / "ant" / raw)
    ran = shard(source, tmp_path / "out", "--check", "header", "--workers", 1)
    assert ran.code == 0, ran.err
    opened = open_split(tmp_path / "out", "train")
    found = {opened.name(i)[1]: opened.read(i).tobytes() for i in range(len(opened))}
    assert found == {name: (source / name).read_bytes() for name in [*files, f"ant/{raw}"]}
    assert len({opened.name(i)[0] for i in range(len(opened))}) == len(files) + 1


def test_splits_can_be_written_one_after_the_other(
    written: Path, pets: Path, tmp_path: Path, shard: Shard, contents: Contents
) -> None:
    out = tmp_path / "two"
    flags = ("--samples-per-shard", 5, "--check", "header", "--name", "pets", "--workers", 1)
    assert shard(pets / "val", out, "--split", "validation", *flags).code == 0
    assert list(read_manifest(out).splits) == ["validation"]
    assert shard(pets / "train", out, *flags).code == 0
    assert list(read_manifest(out).splits) == ["train", "validation"]
    ours, theirs = contents(out), contents(written)
    assert {k: v for k, v in ours.items() if k != "manifest.json"} == {
        k: v for k, v in theirs.items() if k != "manifest.json"
    }


def test_labels_of_a_smaller_validation_count_in_trains_classes(
    pets: Path, tmp_path: Path, shard: Shard
) -> None:
    shutil.rmtree(pets / "val" / "ant")
    ran = shard(pets, tmp_path / "out", "--check", "header", "--workers", 1)
    assert ran.code == 0
    assert "validation has no images of 1 class: ant" in ran.err
    assert read_manifest(tmp_path / "out").splits["validation"].class_counts == [0, 3, 3]
    assert read_manifest(tmp_path / "out").splits["validation"].warnings == [
        "validation has no images of 1 class: ant"
    ]
