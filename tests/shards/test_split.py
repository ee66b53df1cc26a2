"""What is written is read back."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.shards import Tar, open_split
from tests.shards.conftest import IMAGES, NAMES


def test_samples_come_back(root: Path) -> None:
    split = open_split(root, "train")
    ids = np.array([2, 0, 1])
    assert len(split) == 3
    assert split.shard_lengths == [2, 1]
    assert split.classes == ["cat", "dog"]
    assert split.labels(ids).tolist() == [0, 0, 1]
    assert split.labels(ids).dtype == np.int64
    assert split.sizes(ids).tolist() == [[12, 22], [10, 20], [11, 21]]
    assert split.rows(ids)["shard"].tolist() == [1, 0, 0]
    assert [split.read(i).tobytes() for i in range(3)] == IMAGES
    assert [split.name(i) for i in range(3)] == NAMES


def test_a_tar_that_was_cut_since_is_named(root: Path) -> None:
    split = open_split(root, "train")
    os.truncate(root / "toy-train-0000.tar", 12)
    assert split.read(0).tobytes() == IMAGES[0]
    with pytest.raises(DataError, match=r"toy-train-0000\.tar ends at byte 12, inside an image"):
        split.read(1)


def test_a_tar_that_vanished_is_named(root: Path) -> None:
    split = open_split(root, "train")
    (root / "toy-train-0001.tar").unlink()
    with pytest.raises(DataError, match=r"toy-train-0001\.tar cannot be read \(No such file"):
        split.read(2)


def test_an_open_tar_survives_its_name(root: Path) -> None:
    tar = Tar(str(root / "toy-train-0001.tar"), "")
    (root / "toy-train-0001.tar").unlink()
    image = np.zeros(1, np.uint8)
    tar.read_into(image, 4)
    assert image.tobytes() == IMAGES[2]


def test_a_tar_closes_when_nobody_holds_it(root: Path) -> None:
    before = os.listdir("/proc/self/fd")
    tar = Tar(str(root / "toy-train-0001.tar"), "")
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    del tar
    assert len(os.listdir("/proc/self/fd")) == len(before)
