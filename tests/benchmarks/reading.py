"""Ways to get the images of a random order out of the shards, and how long training waits.

python tests/benchmarks/reading.py PHOTOS [--images N] [--rounds N] [--tmp DIR]

PHOTOS is a folder with class folders of JPEGs, copied until there are N, in shards of 1,250. All
contestants hand batches of 64 in the same random order to a consumer that copies them, as DALI
does: as fast as it can, or paced, with pauses as of a GPU that takes 2,000 images/s, where the
first batch counts by itself. Stores:

warm   everything is in the page cache
cold   nothing is; DIR must be on a disk for that
slow   each read takes 3 ms longer, as on a network file system; a page fault of mmap as well, and
       advice is left out, for what that would do there cannot be told here
"""

import argparse
import json
import mmap
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from numpy.typing import NDArray

from pipeline.data.reading import Images, Reader
from pipeline.shards import ShardSplit, Tar, open_split
from tests.benchmarks.record import shard_command, write_result
from tests.benchmarks.sharding import plant

_BATCH = 64
_SLOW_READ_S = 0.003
_GPU_IMAGES_PER_S = 2000
_THREADS = (1, 2, 4, 8, 16)
_MOST_IMAGES = {"warm": 6400, "cold": 6400, "slow": 1920}  # per contestant and round

Batches = Iterator[NDArray[np.int64]]


class Mapped:
    """Views of mapped tars; with ``ahead``, the kernel is told of so many batches before."""

    def __init__(self, split: ShardSplit, ahead: int, delay_s: float):
        self._split, self._ahead, self._delay_s = split, ahead, delay_s
        self._maps: dict[int, mmap.mmap] = {}

    def batches(self, ids: Batches) -> Iterator[Images]:
        waiting: deque[list[tuple[mmap.mmap, int, int]]] = deque()
        for batch in ids:
            waiting.append(self._places(batch))
            if len(waiting) > self._ahead:
                yield self._images(waiting.popleft())
        while waiting:
            yield self._images(waiting.popleft())

    def _places(self, batch: NDArray[np.int64]) -> list[tuple[mmap.mmap, int, int]]:
        rows = self._split.rows(batch)
        shards, offsets, sizes = (rows[name].tolist() for name in ("shard", "offset", "bytes"))
        places = [
            (self._map(k), at, size) for k, at, size in zip(shards, offsets, sizes, strict=True)
        ]
        if self._ahead:
            for mapped, offset, size in places:
                start = offset - offset % mmap.PAGESIZE
                mapped.madvise(mmap.MADV_WILLNEED, start, offset + size - start)
        return places

    def _images(self, places: list[tuple[mmap.mmap, int, int]]) -> Images:
        if self._delay_s:
            time.sleep(self._delay_s * len(places))
        return [np.frombuffer(mapped, np.uint8, size, offset) for mapped, offset, size in places]

    def _map(self, shard: int) -> mmap.mmap:
        if shard not in self._maps:
            with open(self._split.tar_place(shard)[0], "rb") as file:
                self._maps[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[shard]


def inline(split: ShardSplit, ids: Batches) -> Iterator[Images]:
    """pread by whoever asks."""
    tars: dict[int, Tar] = {}
    for batch in ids:
        images: Images = []
        for row in split.rows(batch):
            shard = int(row["shard"])
            if shard not in tars:
                tars[shard] = Tar(*split.tar_place(shard))
            images.append(np.empty(int(row["bytes"]), np.uint8))
            tars[shard].read_into(images[-1], int(row["offset"]))
        yield images


def contestants(delay_s: float) -> dict[str, Callable[[ShardSplit, Batches], Iterator[Images]]]:
    found = {"mmap": lambda split, ids: Mapped(split, 0, delay_s).batches(ids)}
    if not delay_s:
        for ahead in (2, 8):
            found[f"mmap, advice {ahead} batches ahead"] = lambda split, ids, ahead=ahead: Mapped(
                split, ahead, 0.0
            ).batches(ids)
    found["pread"] = inline
    for threads in _THREADS:
        found[f"pread ahead, {threads} threads"] = lambda split, ids, threads=threads: Reader(
            split, threads, 300.0
        ).batches(ids)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--images", type=int, metavar="N", default=20_000)
    parser.add_argument("--rounds", type=int, metavar="N", default=3)
    parser.add_argument("--tmp", type=Path, metavar="DIR", help="on a disk (default: /tmp)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.tmp) as folder:
        tree, shards = Path(folder) / "tree", Path(folder) / "shards"
        size = plant(args.photos, tree / "train", args.images)
        flags = ("--check", "header", "--samples-per-shard", "1250", "--allow-partial")
        subprocess.run(shard_command(tree, shards, *flags), check=True, capture_output=True)
        shutil.rmtree(tree)
        os.sync()
        figures: dict[str, Any] = {"images": args.images, "bytes": size, "rounds": args.rounds}
        for store in ("warm", "cold", "slow"):
            figures[store] = of_store(store, shards, args.images, args.rounds)
    write_result("reading", figures, ["numpy"])


def of_store(store: str, shards: Path, images: int, rounds: int) -> dict[str, Any]:
    delay_s = _SLOW_READ_S if store == "slow" else 0.0
    count = min(images, _MOST_IMAGES[store])
    found: dict[str, dict[str, Any]] = {name: {} for name in contestants(delay_s)}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    for _ in range(rounds):
        for name in found:
            for paced in (False, True):
                if store == "cold":
                    forget(shards)
                # Each in a process of its own: the pages of a mapping cannot be forgotten.
                with multiprocessing.get_context("fork").Pool(1) as pool:
                    runs[name].append(pool.apply(measured, (shards, name, delay_s, count, paced)))
    for name, every in runs.items():
        for key in sorted({key for run in every for key in run}):
            values = [run[key] for run in every if key in run]
            found[name][key] = round(statistics.median(values), 1)
        print(store, name, json.dumps(found[name]), file=sys.stderr)
    return found


def measured(shards: Path, name: str, delay_s: float, images: int, paced: bool) -> dict[str, float]:
    """Read ``images`` images once over; paced: with a GPU's pauses, which count as no time."""
    if delay_s:
        preadv = os.preadv
        os.preadv = lambda *what: (time.sleep(delay_s), preadv(*what))[1]
    split = open_split(shards, "train")
    order = np.random.default_rng(0).permutation(len(split))[:images]
    ids = (order[start : start + _BATCH] for start in range(0, len(order), _BATCH))
    batches = contestants(delay_s)[name](split, ids)
    before, waits = resource.getrusage(resource.RUSAGE_SELF), list[float]()
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        np.concatenate(batch)
        waits.append(time.perf_counter() - began)
        if paced:
            time.sleep(len(batch) / _GPU_IMAGES_PER_S)
    after, waited = resource.getrusage(resource.RUSAGE_SELF), sum(waits[1:])
    if paced:
        busy_s = images / _GPU_IMAGES_PER_S
        return {
            "first_batch_ms": 1e3 * waits[0],
            "paced_wait_pct": 100 * waited / (waited + busy_s),
        }
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "images_per_second": images / sum(waits),
        "cpu_us_per_image": 1e6 * cpu_s / images,
        "kb_from_disk_per_image": (after.ru_inblock - before.ru_inblock) / 2 / images,
    }


def forget(shards: Path) -> None:
    """Drop the tars from the page cache."""
    for path in shards.glob("*.tar"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
