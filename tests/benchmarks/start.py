"""What a rank's start costs before its first image: checks of the shards, and the order.

python tests/benchmarks/start.py [--rounds N] [--tmp DIR]

Shards of ImageNet-1k's and of ImageNet-21k's number are laid out with side files and indexes of
the right size and empty tars of the right length. A fresh process opens the split, orders the
first epoch and asks for the first micro-batch; its time and memory are counted from after the
imports, with everything in the page cache.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from numpy.typing import NDArray

from pipeline.shards import (
    MANIFEST,
    SAMPLE_DTYPE,
    Manifest,
    ShardEntry,
    SideFile,
    SplitManifest,
    index_name,
    names_name,
    samples_name,
    shard_name,
)
from tests.benchmarks.record import ROOT, summary, write_result

_JPEG_BYTES = 110_000
_NAME = b"n01440764_10026\0n01440764/n01440764_10026.JPEG\0"
_INDEX_LINE = b"jpg 138412544 110000 n01440764_10026.jpg cls 138523136 4 n01440764_10026.cls\n"

# Of one process, which prints seconds and the memory that it took, at most and in the end.
_PROGRAM = """
import json, sys, time
from pipeline.config import Config
from pipeline.data.order import make_order
from pipeline.shards import open_split

def memory_mb(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024

before, began = memory_mb("VmRSS"), time.perf_counter()
split = open_split(sys.argv[1], "train")
opened = time.perf_counter()
first = make_order(Config(), split.shard_lengths).micro_batch_ids(0, 0, 0)
split.sizes(first), split.labels(first)
done = time.perf_counter()
print(json.dumps({
    "open_split_s": opened - began,
    "order_s": done - opened,
    "start_s": done - began,
    "peak_mb": memory_mb("VmHWM") - before,
    "kept_mb": memory_mb("VmRSS") - before,
}))
"""


@dataclass(frozen=True)
class Size:
    """A data set, and what its start may cost."""

    samples: int
    shards: int
    most_seconds: float
    most_mb: float


SIZES = {
    "imagenet1k": Size(1_281_167, 1024, 2.0, 200.0),
    "imagenet21k": Size(14_000_000, 12_000, 10.0, 400.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, metavar="N", default=5)
    parser.add_argument("--tmp", type=Path, metavar="DIR", help="needs 3 GB (default: /tmp)")
    args = parser.parse_args()
    figures = {}
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory(dir=args.tmp) as folder:
            side_mb = lay_out(Path(folder), size) / 1e6
            rounds = [start(Path(folder)) for _ in range(args.rounds)]
        figures[name] = {
            "samples": size.samples,
            "shards": size.shards,
            "hashed_mb": round(side_mb),
            **{key: summary([r[key] for r in rounds], 2) for key in rounds[0]},
            "targets": {"start_s": size.most_seconds, "peak_mb": size.most_mb},
        }
        print(name, figures[name], file=sys.stderr)
    write_result("start", figures, ["numpy"])


def start(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-c", _PROGRAM, str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def lay_out(root: Path, size: Size) -> int:
    """A split ``train`` that passes every check at start; returns the bytes that are hashed."""
    lengths = np.diff(np.arange(size.shards + 1) * size.samples // size.shards)
    shards = [_shard(root, k, samples) for k, samples in enumerate(lengths.tolist())]
    rows, names = root / samples_name("toy", "train"), root / names_name("toy", "train")
    _save_rows(rows, lengths)
    names.write_bytes(_NAME * size.samples)
    sides = [_about(rows), _about(names)]
    split = SplitManifest(shards, [size.samples], {}, {}, side_files=sides)
    (root / MANIFEST).write_text(Manifest("toy", ["only"], {"train": split}, {}).to_json())
    indexes = sum((root / index_name(shard.name)).stat().st_size for shard in shards)
    return sum(side.bytes for side in sides) + indexes


def _shard(root: Path, k: int, samples: int) -> ShardEntry:
    name = shard_name("toy", "train", k)
    size = samples * (_JPEG_BYTES + 2048)
    with (root / name).open("wb") as file:
        file.truncate(size)
    index = b"v1.2 %d\n" % k + _INDEX_LINE * samples
    (root / index_name(name)).write_bytes(index)
    return ShardEntry(name, "0" * 64, size, samples, hashlib.sha256(index).hexdigest())


def _save_rows(path: Path, lengths: NDArray[np.int64]) -> None:
    rows = np.zeros(lengths.sum(), SAMPLE_DTYPE)
    rows["shard"] = np.repeat(np.arange(len(lengths)), lengths)
    rows["bytes"] = _JPEG_BYTES
    np.save(path, rows)


def _about(path: Path) -> SideFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return SideFile(path.name, digest, path.stat().st_size)


if __name__ == "__main__":
    main()
