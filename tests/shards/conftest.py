"""A small shard folder laid out by hand."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

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
    pack_name,
    samples_name,
    shard_name,
)

IMAGES = [b"first", b"second one", b"3"]
NAMES = [("a", "cat/a.jpg"), ("b", "dog/\udcff b.jpg"), ("c" * 96, "dog/" + "c" * 700 + ".jpg")]
_NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two shards of 2 + 1 samples."""
    return lay_out(tmp_path, [IMAGES[:2], IMAGES[2:]], NAMES)


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Permission bits bind root too."""
    if os.geteuid():
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def lay_out(
    folder: Path, images: Sequence[Sequence[bytes]], names: Sequence[tuple[str, str]]
) -> Path:
    """Write a split ``train`` of the dataset ``toy``: the images of each shard, and their names.

    Sample i has the label i % 2, and is said to be 10 + i by 20 + i pixels.
    """
    shards: list[ShardEntry] = []
    rows: list[tuple[int, ...]] = []
    packed = b""
    for shard, members in enumerate(images):
        content = b"head"
        for image in members:
            i = len(rows)
            rows.append((shard, len(content), len(image), 10 + i, 20 + i, i % 2, len(packed)))
            content += image
            packed += pack_name(*names[i])
        name = shard_name("toy", "train", shard)
        (folder / name).write_bytes(content)
        (folder / index_name(name)).write_bytes(b"index")
        hashes = sha256(content), sha256(b"index")
        shards.append(ShardEntry(name, hashes[0], len(content), len(members), hashes[1]))
    np.save(folder / samples_name("toy", "train"), np.array(rows, SAMPLE_DTYPE))
    (folder / names_name("toy", "train")).write_bytes(packed)
    sides = [folder / samples_name("toy", "train"), folder / names_name("toy", "train")]
    split = SplitManifest(
        shards=shards,
        class_counts=[(len(rows) + 1) // 2, len(rows) // 2],
        options={"seed": 0},
        source={"layout": "imagefolder"},
        quarantine=[Quarantined("dog/\udcff.jpg", "empty file")],
        warnings=["one"],
        side_files=[SideFile(p.name, sha256(p.read_bytes()), p.stat().st_size) for p in sides],
    )
    manifest = Manifest("toy", ["cat", "dog"], {"train": split}, {"numpy": "2"})
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="ascii")
    return folder


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
