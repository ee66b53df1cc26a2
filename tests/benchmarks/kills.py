"""Kill shard.py at random moments until it is done; the shards must be those of an unbroken run.

python tests/benchmarks/kills.py PHOTOS [--kills N] [--images N] [--seed S] [--tmp DIR]

Half of the kills take the whole process group (a node that goes away), the other half one process:
the main one, whose workers stay behind for a moment, or a worker. After each kill the same command
is started again. Then once more with SIGTERM, which must leave no half-written file.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])

import psutil

from tests.benchmarks.record import shard_command, write_result
from tests.benchmarks.sharding import plant

_FLAGS = ("--samples-per-shard", "100", "--workers", "2")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--kills", type=int, metavar="N", default=20)
    parser.add_argument("--images", type=int, metavar="N", default=4000)
    parser.add_argument("--seed", type=int, metavar="S", default=0)
    parser.add_argument("--tmp", type=Path, metavar="DIR", default=Path("/dev/shm"))
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(dir=args.tmp) as folder:
        tree, whole, out = (Path(folder) / name for name in ("tree", "whole", "out"))
        plant(args.photos, tree, args.images)
        began = time.perf_counter()
        subprocess.run(shard_command(tree, whole, *_FLAGS), check=True, capture_output=True)
        seconds = time.perf_counter() - began
        expected = contents(whole)
        killed = rounds(rng, tree, out, expected, seconds, args.kills, signal.SIGKILL)
        stopped = rounds(rng, tree, out, expected, seconds, 5, signal.SIGTERM)
    figures = {
        "images": args.images,
        "unbroken_seconds": round(seconds, 2),
        "killed": killed,
        "stopped": stopped,
    }
    write_result("sharding-kills", figures)
    whole_again = killed["byte_identical"] + stopped["byte_identical"]
    sys.exit(0 if all(whole_again) and not stopped["half_written_files"] else 1)


def rounds(
    rng: random.Random,
    tree: Path,
    out: Path,
    expected: dict[str, bytes],
    seconds: float,
    count: int,
    number: int,
) -> dict[str, list[Any]]:
    """Signal the command ``count`` times. Whenever it comes to its end, compare and begin anew."""
    told: list[str] = []
    halves: list[str] = []
    same: list[bool] = []
    while len(told) < count:
        what = kill(rng, tree, out, seconds, number)
        if what is not None:
            left = sum(1 for _ in out.glob("*.tar"))
            told.append(f"{what}, {left} shards written")
            if number == signal.SIGTERM:
                halves += [path.name for path in out.rglob("*.tmp")]
        if what is None or len(told) == count:
            subprocess.run(shard_command(tree, out, *_FLAGS), check=True, capture_output=True)
            same.append(contents(out) == expected)
            shutil.rmtree(out)
    return {"signals": told, "byte_identical": same, "half_written_files": halves}


def kill(rng: random.Random, tree: Path, out: Path, seconds: float, number: int) -> str | None:
    """Start the command and signal it at a random moment; returns what was done.

    None where it was at its end before.
    """
    process = subprocess.Popen(
        shard_command(tree, out, *_FLAGS),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    # The early moments, in which little is written yet, as often as all the others.
    after = rng.uniform(0, seconds * rng.choice([0.3, 0.6, 0.9]))
    time.sleep(after)
    if process.poll() is not None:
        process.communicate()
        return None
    victims = [process.pid, *(child.pid for child in psutil.Process(process.pid).children())]
    which = rng.choice(["all", "all", "main", "worker"]) if number == signal.SIGKILL else "all"
    if which == "all":
        os.killpg(process.pid, number)
    else:
        os.kill(victims[0] if which == "main" else rng.choice(victims), number)
    process.communicate()
    return f"after {after:.2f} s: {signal.Signals(number).name} to {which}"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


if __name__ == "__main__":
    main()
