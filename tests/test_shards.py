"""The on-disk contract: what is written is read back, what is damaged is named."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError, UserError
from pipeline.shards import (
    MANIFEST,
    SAMPLE_DTYPE,
    Manifest,
    Quarantined,
    ShardEntry,
    SideFile,
    SplitManifest,
    index_name,
    names_name,
    open_split,
    pack_name,
    read_manifest,
    samples_name,
    shard_name,
)

IMAGES = [b"first", b"second one", b"3"]
NAMES = [("a", "cat/a.jpg"), ("b", "dog/\udcff b.jpg"), ("c" * 96, "dog/" + "c" * 700 + ".jpg")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two shards of 2 + 1 samples, laid out by hand."""
    shards: list[ShardEntry] = []
    rows: list[tuple[int, ...]] = []
    names = b""
    for shard, members in enumerate(([0, 1], [2])):
        content = b"head"
        for i in members:
            rows.append((shard, len(content), len(IMAGES[i]), 10 + i, 20 + i, i % 2, len(names)))
            content += IMAGES[i]
            names += pack_name(*NAMES[i])
        name = shard_name("toy", "train", shard)
        (tmp_path / name).write_bytes(content)
        (tmp_path / index_name(name)).write_text("index")
        sha256 = hashlib.sha256(content).hexdigest()
        shards.append(ShardEntry(name, sha256, len(content), len(members)))
    np.save(tmp_path / samples_name("toy", "train"), np.array(rows, SAMPLE_DTYPE))
    (tmp_path / names_name("toy", "train")).write_bytes(names)
    split = SplitManifest(
        shards=shards,
        class_counts=[2, 1],
        options={"seed": 0},
        source={"layout": "imagefolder"},
        quarantine=[Quarantined("dog/\udcff.jpg", "empty file")],
        warnings=["one"],
        side_files=[SideFile(names_name("toy", "train"), "0" * 64, len(names))],
    )
    manifest = Manifest("toy", ["cat", "dog"], {"train": split}, {"numpy": "2"})
    (tmp_path / MANIFEST).write_text(manifest.to_json(), encoding="ascii")
    return tmp_path


def test_file_names() -> None:
    assert shard_name("imagenet1k", "train", 7) == "imagenet1k-train-0007.tar"
    assert index_name("imagenet1k-train-0007.tar") == "imagenet1k-train-0007.idx"


def test_samples_come_back(root: Path) -> None:
    split = open_split(root, "train")
    ids = np.array([2, 0, 1])
    assert len(split) == 3
    assert split.shard_lengths == [2, 1]
    assert split.classes == ["cat", "dog"]
    assert split.labels(ids).tolist() == [0, 0, 1]
    assert split.labels(ids).dtype == np.int64
    assert split.sizes(ids).tolist() == [[12, 22], [10, 20], [11, 21]]
    assert [split.read(i).tobytes() for i in range(3)] == IMAGES
    assert [split.name(i) for i in range(3)] == NAMES


def test_the_manifest_survives_its_json(root: Path) -> None:
    manifest = read_manifest(root)
    assert manifest.to_json() == (root / MANIFEST).read_text()
    assert manifest.splits["train"].samples == 3
    assert manifest.splits["train"].quarantine == [Quarantined("dog/\udcff.jpg", "empty file")]


def test_the_digest_is_that_of_the_shards(root: Path) -> None:
    split = read_manifest(root).splits["train"]
    assert split.digest == open_split(root, "train").digest
    assert replace(split, shards=split.shards[::-1]).digest != split.digest
    assert replace(split, warnings=[]).digest == split.digest


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("toy-train-0001.tar", None, "toy-train-0001.tar is missing"),
        ("toy-train-0000.tar", b"short", "toy-train-0000.tar has 5 bytes, the manifest says 19"),
        ("toy-train-0000.idx", None, "toy-train-0000.idx is missing"),
        ("toy-train.samples.npy", None, "toy-train.samples.npy is missing"),
        ("toy-train.names.bin", b"x", "toy-train.names.bin has 1 bytes, the manifest says"),
    ],
)
def test_damage_is_named(root: Path, name: str, content: bytes | None, said: str) -> None:
    if content is None:
        (root / name).unlink()
    else:
        (root / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as raised:
        open_split(root, "train")
    assert f"data_prep/shard.py SOURCE {root}" in str(raised.value)


def test_rows_that_do_not_match_the_shards(root: Path) -> None:
    path = root / samples_name("toy", "train")
    np.save(path, np.load(path)[:2])
    with pytest.raises(DataError, match="has 2 rows, the manifest 3 samples"):
        open_split(root, "train")


def test_a_folder_without_manifest_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root=.*data_prep/shard\.py SOURCE"):
        open_split(tmp_path, "train")


def test_an_unknown_split_lists_those_there_are(root: Path) -> None:
    with pytest.raises(UserError, match="holds the splits train, not 'validation'"):
        open_split(root, "validation")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 1}'])
def test_a_damaged_manifest_is_a_data_error(root: Path, text: str) -> None:
    (root / MANIFEST).write_text(text)
    with pytest.raises(DataError, match="is damaged"):
        read_manifest(root)


def test_another_format_is_refused(root: Path) -> None:
    raw = json.loads((root / MANIFEST).read_text())
    (root / MANIFEST).write_text(json.dumps(raw | {"format_version": 2}))
    with pytest.raises(DataError, match="format_version=2, this code reads 1"):
        read_manifest(root)
