"""Staging: whole copies are used from when they are there, and whatever fails, training reads."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.data import staging
from pipeline.data.reading import Reader
from pipeline.data.staging import stage
from pipeline.shards import ShardSplit, open_split
from tests.shards.conftest import lay_out

Capture = pytest.CaptureFixture
Patch = pytest.MonkeyPatch

ROOT = Path(__file__).resolve().parents[2]
SHARDS, PER_SHARD = 4, 3
SAMPLES = SHARDS * PER_SHARD
IMAGES = [bytes([i + 1]) * (50 + i) for i in range(SAMPLES)]

# A copier that is slow enough to be met at work.
SLOW_COPIER = """
import sys, threading, time
from pathlib import Path
from pipeline.data import staging
from pipeline.shards import ShardSplit, read_manifest

class SlowHash:
    def __init__(self): self.hash = sha256()
    def update(self, part): time.sleep(0.05); self.hash.update(part)
    def hexdigest(self): return self.hash.hexdigest()

sha256, staging._CHUNK_BYTES = staging.hashlib.sha256, 16
root = Path(sys.argv[1])
split = ShardSplit(root, read_manifest(root), "train")
staging.hashlib.sha256 = SlowHash
staging.stage(sys.argv[2], [split], copies=True)
if sys.argv[3] == "wait":
    next(t for t in threading.enumerate() if t.name == "staging").join()
else:
    time.sleep(1.2)
"""


@pytest.fixture
def split(tmp_path: Path) -> ShardSplit:
    (tmp_path / "shards").mkdir()
    groups = [IMAGES[start : start + PER_SHARD] for start in range(0, SAMPLES, PER_SHARD)]
    names = [(f"k{i}", f"c/k{i}.jpg") for i in range(SAMPLES)]
    return open_split(lay_out(tmp_path / "shards", groups, names), "train")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """The node's own disk."""
    return tmp_path / "disk"


def staged(split: ShardSplit, disk: Path, copies: bool = True) -> list[str]:
    """Stage to the end; returns the names of the copies."""
    stage(str(disk), [split], copies)
    for thread in threading.enumerate():
        if thread.name == "staging":
            thread.join(20)
            assert not thread.is_alive()
    return sorted(path.name for path in disk.rglob("*.tar") if not path.name.startswith("."))


def images_of(split: ShardSplit) -> list[bytes]:
    found = Reader(split, 2, 20.0).batches(np.array([i]) for i in range(SAMPLES))
    return [images[0].tobytes() for images in found]


def spoil_originals(split: ShardSplit) -> None:
    """Whoever reads these gets other bytes."""
    for path in split.root.glob("*.tar"):
        path.write_bytes(bytes(path.stat().st_size))


def start_copier(split: ShardSplit, disk: Path, then: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", SLOW_COPIER, str(split.root), str(disk), then]
    with open(f"{disk}.err", "wb") as err:
        return subprocess.Popen(command, cwd=ROOT, stderr=err)


def met_at_work(disk: Path) -> list[Path]:
    """The half copies of a copier that runs, when there is one and a whole one too."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if list(disk.rglob("toy*.tar")) and (found := list(disk.rglob(".*.tmp"))):
            return found
        time.sleep(0.005)
    raise AssertionError("no copier at work")


def test_nothing_is_staged_unasked(split: ShardSplit) -> None:
    stage(None, [split], copies=True)
    assert split.staged is None
    assert images_of(split) == IMAGES


def test_copies_are_used(split: ShardSplit, disk: Path, capsys: Capture) -> None:
    assert staged(split, disk) == [f"toy-train-000{k}.tar" for k in range(SHARDS)]
    assert f"staged 4 shards, 0.0 GB, in {disk}" in capsys.readouterr().err
    spoil_originals(split)
    assert images_of(split) == IMAGES


def test_other_ranks_use_what_appears(split: ShardSplit, disk: Path) -> None:
    other = open_split(split.root, "train")
    assert staged(other, disk, copies=False) == []
    assert images_of(other) == IMAGES
    staged(split, disk)
    spoil_originals(split)
    assert images_of(other) == IMAGES


def test_no_reader_sees_half_a_copy(split: ShardSplit, disk: Path) -> None:
    """Nor waits for one: originals are read until the copy is whole."""
    stage(str(disk), [split], copies=False)
    copier = start_copier(split, disk, "wait")
    places: set[str] = set()
    while copier.poll() is None:
        assert images_of(split) == IMAGES
        places |= {os.path.dirname(split.tar_place(k)[0]) for k in range(SHARDS)}
    assert copier.returncode == 0
    assert places == {str(split.root), str(split.staged)}


def test_a_copy_of_another_size_is_made_anew(split: ShardSplit, disk: Path) -> None:
    staged(split, disk)
    copy = Path(split.tar_place(1)[0])
    copy.write_bytes(b"cut")
    assert split.tar_place(1)[0] == str(split.root / copy.name)
    before = {path: path.stat().st_mtime_ns for path in disk.rglob("*.tar")}
    staged(split, disk)
    changed = [path for path, when in before.items() if path.stat().st_mtime_ns != when]
    assert changed == [copy]
    spoil_originals(split)
    assert images_of(split) == IMAGES


def test_other_shards_go_elsewhere(split: ShardSplit, disk: Path, tmp_path: Path) -> None:
    staged(split, disk)
    (tmp_path / "other").mkdir()
    names = [(f"k{i}", f"c/k{i}.jpg") for i in range(SAMPLES)]
    other = open_split(lay_out(tmp_path / "other", [IMAGES[::-1]], names), "train")
    staged(other, disk)
    assert split.staged != other.staged
    spoil_originals(other)
    assert images_of(other) == IMAGES[::-1]


# What goes wrong is told once, and training reads the originals.


def refused(split: ShardSplit, disk: Path, capsys: Capture, *parts: str, copies: int = 0) -> None:
    assert len(staged(split, disk)) == copies
    err = capsys.readouterr().err
    assert err.startswith(f"warning: data.stage_to={disk}: ")
    assert err.count("\n") == 1
    for part in (*parts, f"training goes on and reads what is not staged from {split.root}"):
        assert part in err
    assert not list(disk.rglob(".*.tmp")) if disk.is_dir() else True


def test_a_damaged_original_is_not_staged(split: ShardSplit, disk: Path, capsys: Capture) -> None:
    path = split.root / "toy-train-0002.tar"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\0")
    command = f"`python data_prep/verify.py {split.root} --repair SOURCE`"
    refused(split, disk, capsys, f"{path} has sha256", "it is damaged", command, copies=2)
    assert split.tar_place(2)[0] == str(path)
    path.write_bytes(content)
    assert len(staged(split, disk)) == SHARDS


def test_too_little_room(
    split: ShardSplit, disk: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    size = sum(shard.bytes for shard in split.manifest.shards)
    most = (1 << 30) + size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=most - 10**9))
    refused(split, disk, capsys, "1.0 GB of room are lacking")
    assert images_of(split) == IMAGES
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=most))
    assert len(staged(split, disk)) == SHARDS
    # What is there needs no more room.
    capsys.readouterr()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    assert len(staged(split, disk)) == SHARDS
    assert capsys.readouterr().err == ""


def test_a_disk_that_refuses_in_the_middle(split: ShardSplit, disk: Path, capsys: Capture) -> None:
    least = min(shard.bytes for shard in split.manifest.shards)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (least, before[1]))
    try:
        refused(split, disk, capsys, "File too large", copies=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert images_of(split) == IMAGES
    assert len(staged(split, disk)) == SHARDS


def test_a_file_instead_of_a_folder(split: ShardSplit, disk: Path, capsys: Capture) -> None:
    disk.touch()
    refused(split, disk, capsys, "File exists")
    assert images_of(split) == IMAGES


def test_a_folder_that_may_not_be_written(
    split: ShardSplit, disk: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    def deny(path: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(Path, "mkdir", deny)
    refused(split, disk, capsys, "Permission denied")
    assert images_of(split) == IMAGES


def test_a_variable_names_the_disk(split: ShardSplit, disk: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("NODE_DISK", str(disk))
    stage("$NODE_DISK/shards", [split], copies=False)
    assert split.staged is not None
    assert split.staged.parent == disk / "shards"


def test_a_variable_that_is_not_set(split: ShardSplit, capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.delenv("NODE_DISK", raising=False)
    refused(split, Path("$NODE_DISK"), capsys, "the variable is not set on this node")
    assert not Path("$NODE_DISK").exists()


# Several copiers, and killed ones.


def test_a_killed_copier_leaves_nothing_that_counts(split: ShardSplit, disk: Path) -> None:
    copier = start_copier(split, disk, "wait")
    half = met_at_work(disk)
    copier.send_signal(signal.SIGKILL)
    copier.wait()
    stage(str(disk), [split], copies=False)
    assert half[0].exists()
    assert images_of(split) == IMAGES
    assert len(staged(split, disk)) == SHARDS
    assert not list(disk.rglob(".*.tmp"))
    spoil_originals(split)
    assert images_of(split) == IMAGES


def test_the_end_of_the_process_does_not_wait(split: ShardSplit, disk: Path) -> None:
    copier = start_copier(split, disk, "leave")
    met_at_work(disk)
    assert (copier.wait(5), Path(f"{disk}.err").read_text()) == (0, "")
    assert len(list(disk.rglob("toy*.tar"))) < SHARDS


def test_a_second_copier_waits_and_copies_nothing_twice(
    split: ShardSplit, disk: Path, monkeypatch: Patch
) -> None:
    first = start_copier(split, disk, "wait")
    met_at_work(disk)
    copied: list[str] = []
    copy: Callable[..., None] = staging._copy
    monkeypatch.setattr(
        staging, "_copy", lambda split, entry: (copied.append(entry.name), copy(split, entry))
    )
    assert len(staged(split, disk)) == SHARDS
    assert (first.wait(), copied) == (0, [])


def test_a_second_copier_takes_over_from_a_killed_one(split: ShardSplit, disk: Path) -> None:
    first = start_copier(split, disk, "wait")
    met_at_work(disk)
    stage(str(disk), [split], copies=True)
    time.sleep(0.1)
    first.kill()
    first.wait()
    assert len(staged(split, disk)) == SHARDS
