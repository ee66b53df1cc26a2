"""Reading ahead: the right bytes in the right order, and no trouble that hides or hangs."""

import contextlib
import errno
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.reading import Reader
from pipeline.errors import DataError
from pipeline.shards import ShardSplit, open_split
from tests.shards.conftest import lay_out

ROOT = Path(__file__).resolve().parents[2]
SHARDS, PER_SHARD = 5, 8
SAMPLES = SHARDS * PER_SHARD
SLOW_S = 0.05
IMAGES = [bytes([i]) * (100 + 37 * i) for i in range(SAMPLES)]


@pytest.fixture
def split(tmp_path: Path) -> ShardSplit:
    groups = [IMAGES[start : start + PER_SHARD] for start in range(0, SAMPLES, PER_SHARD)]
    names = [(f"k{i}", f"c/k{i}.jpg") for i in range(SAMPLES)]
    return open_split(lay_out(tmp_path, groups, names), "train")


def batches(*ids: list[int]) -> Iterator[NDArray[np.int64]]:
    return (np.array(batch, np.int64) for batch in ids)


def read(reader: Reader, *ids: list[int]) -> list[list[bytes]]:
    return [[image.tobytes() for image in images] for images in reader.batches(batches(*ids))]


def readers() -> int:
    return sum(thread.name.startswith("reader-") for thread in threading.enumerate())


def ended(but: int = 0) -> bool:
    deadline = time.monotonic() + 5
    while readers() > but and time.monotonic() < deadline:
        time.sleep(0.01)
    return readers() == but


def open_tars() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since
            count += os.readlink(f"/proc/self/fd/{name}").endswith(".tar")
    return count


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_every_batch_comes_in_its_place(split: ShardSplit, threads: int) -> None:
    rng = np.random.default_rng(0)
    wanted = [rng.integers(0, SAMPLES, size).tolist() for size in rng.integers(0, 9, 200)]
    found = read(Reader(split, threads, 60.0), *wanted)
    assert found == [[IMAGES[i] for i in ids] for ids in wanted]
    assert ended()


def test_memory_is_bounded(split: ShardSplit) -> None:
    asked: list[int] = []

    def ids() -> Iterator[NDArray[np.int64]]:
        for i in range(SAMPLES):
            asked.append(i)
            yield np.array([i])

    reading = Reader(split, 3, 60.0).batches(ids())
    for done in range(10):
        next(reading)
        assert len(asked) == done + 4


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *what: (time.sleep(SLOW_S), preadv(*what))[1])


@pytest.mark.usefixtures("slow")
def test_threads_read_at_the_same_time(split: ShardSplit) -> None:
    began = time.perf_counter()
    read(Reader(split, 8, 60.0), *([i] for i in range(SAMPLES)))
    assert time.perf_counter() - began < SLOW_S * SAMPLES / 2


@pytest.mark.usefixtures("slow")
def test_reading_goes_on_while_nobody_waits(split: ShardSplit) -> None:
    reading = Reader(split, 4, 60.0).batches(batches(*([i] for i in range(5))))
    next(reading)
    time.sleep(10 * SLOW_S)
    began = time.perf_counter()
    assert len(list(reading)) == 4
    assert time.perf_counter() - began < SLOW_S * 3


def test_a_tar_that_is_gone_or_cut_or_foreign(split: ShardSplit) -> None:
    (split.root / "toy-train-0001.tar").unlink()
    os.truncate(split.root / "toy-train-0002.tar", 200)
    (split.root / "toy-train-0003.tar").unlink()
    (split.root / "toy-train-0003.tar").mkdir()
    reader = Reader(split, 2, 60.0)
    for shard, said in {
        1: r"toy-train-0001\.tar cannot be read \(No such file or directory\)",
        2: r"toy-train-0002\.tar ends at byte 200, inside an image",
        3: r"toy-train-0003\.tar cannot be read \(Is a directory\)",
    }.items():
        reading = reader.batches(batches([0], [shard * PER_SHARD], [1]))
        assert next(reading)[0].tobytes() == IMAGES[0]
        with pytest.raises(DataError, match=said) as raised:
            next(reading)
        assert f"verify.py {split.root} --repair SOURCE" in str(raised.value)
    assert ended()


def test_a_failing_disk_names_the_shard(split: ShardSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*what: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(DataError, match=r"toy-train-0004\.tar cannot be read \(Input/output error"):
        read(Reader(split, 2, 60.0), [SAMPLES - 1])


def test_any_other_error_arrives(split: ShardSplit) -> None:
    with pytest.raises(IndexError):
        read(Reader(split, 2, 60.0), [0], [SAMPLES])
    assert ended()


def test_an_error_of_the_order_arrives(split: ShardSplit) -> None:
    def ids() -> Iterator[NDArray[np.int64]]:
        yield np.array([1])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(Reader(split, 2, 60.0).batches(ids()))
    assert ended()


def test_a_tar_replaced_under_a_reader_stays_the_old_one(split: ShardSplit) -> None:
    path = split.root / "toy-train-0000.tar"
    size = path.stat().st_size
    reading = Reader(split, 1, 60.0).batches(batches(*([i] for i in range(PER_SHARD))))
    assert next(reading)[0].tobytes() == IMAGES[0]
    path.with_suffix(".new").write_bytes(b"x" * size)
    path.with_suffix(".new").rename(path)
    assert [images[0].tobytes() for images in reading] == IMAGES[1:PER_SHARD]


def test_few_files_are_open_and_none_is_lost(
    split: ShardSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor that were closed under a thread would read from another file."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (4, 4))
    rng = np.random.default_rng(1)
    wanted = [rng.integers(0, SAMPLES, 16).tolist() for _ in range(300)]
    reading = Reader(split, 2, 60.0).batches(batches(*wanted))
    most = 0
    for ids, images in zip(wanted, reading, strict=True):
        assert [image.tobytes() for image in images] == [IMAGES[i] for i in ids]
        most = max(most, open_tars())
    assert most <= 1 + 2 < SHARDS


@pytest.fixture
def stuck(split: ShardSplit) -> Iterator[Path]:
    """A shard whose opening waits for ever, as on a dead server."""
    path = split.root / "toy-train-0002.tar"
    path.unlink()
    os.mkfifo(path)
    yield path
    descriptor = os.open(path, os.O_RDWR)  # lets go of whoever waits
    ended()
    os.close(descriptor)


def test_a_stuck_read_names_the_shard_and_closes_at_once(split: ShardSplit, stuck: Path) -> None:
    reading = Reader(split, 2, 1.0).batches(batches([0], [2 * PER_SHARD], [1]))
    assert next(reading)[0].tobytes() == IMAGES[0]
    began = time.monotonic()
    with pytest.raises(DataError, match=rf"{stuck} for data\.read_timeout_s=1:"):
        next(reading)
    assert time.monotonic() - began < 5
    assert ended(but=1)


def test_a_stuck_thread_does_not_keep_the_process(split: ShardSplit, stuck: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from pipeline.data.reading import Reader\n"
        "from pipeline.shards import ShardSplit, read_manifest\n"
        "root = Path(sys.argv[1])\n"
        "split = ShardSplit(root, read_manifest(root), 'train')\n"
        "next(Reader(split, 2, 0.2).batches(iter([np.array([16])])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(split.root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 1
    assert f"nothing comes from {stuck}" in done.stderr
