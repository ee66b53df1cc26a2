"""Speed of sharding beside its peers and limits, in one run.

python tests/benchmarks/sharding.py passthrough|decode PHOTOS [--images N] [--rounds N] [--tmp DIR]

passthrough   bytes copied without decoding: shard.py on two workers, webdataset's ShardWriter in
              one process, and GNU tar, on the same tree, in turn
decode        every image decoded once: shard.py on all CPUs, against the rate at which
              libjpeg-turbo decodes the same images on one core, times the CPUs

PHOTOS is a folder with class folders of JPEGs, which are copied until there are N. Give a tmpfs as
DIR. Whole commands are timed, start included.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

import simplejpeg

from tests.benchmarks.record import shard_command, summary, write_result

_WEBDATASET = """
import pathlib, sys, webdataset
root, out = map(pathlib.Path, sys.argv[1:])
classes = sorted(folder.name for folder in root.iterdir())
with webdataset.ShardWriter(str(out / "%06d.tar"), maxcount=1250, verbose=0) as writer:
    for label, name in enumerate(classes):
        for path in sorted((root / name).iterdir()):
            sample = {"__key__": path.stem, "jpg": path.read_bytes(), "cls": label}
            writer.write(sample)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=["passthrough", "decode"])
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--images", type=int, metavar="N", default=20_000)
    parser.add_argument("--rounds", type=int, metavar="N", default=5)
    parser.add_argument("--tmp", type=Path, metavar="DIR", default=Path("/dev/shm"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.tmp) as folder:
        tree = Path(folder) / "tree"
        size = plant(args.photos, tree, args.images)
        about = {"images": args.images, "bytes": size, "rounds": args.rounds}
        run = {"passthrough": passthrough, "decode": decode}[args.benchmark]
        run(tree, Path(folder) / "out", about, args.rounds)


def plant(photos: Path, tree: Path, count: int) -> int:
    """``tree/<class>/<class>_<n>.JPEG``, copies of the photographs in turn; returns the bytes."""
    originals = sorted(
        path for path in photos.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg")
    )
    size = 0
    for number in range(count):
        original = originals[number % len(originals)]
        copy = tree / original.parent.name / f"{original.parent.name}_{number}.JPEG"
        copy.parent.mkdir(parents=True, exist_ok=True)
        size += shutil.copyfile(original, copy).stat().st_size
    return size


def passthrough(tree: Path, out: Path, about: dict[str, int], rounds: int) -> None:
    contestants: dict[str, list[str]] = {
        "shard.py, 2 workers": shard_command(tree, out, "--check", "header", "--workers", "2"),
        "webdataset.ShardWriter": [sys.executable, "-c", _WEBDATASET, str(tree), str(out)],
        "tar cf": ["tar", "cf", str(out / "all.tar"), "-C", str(tree), "."],
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        # Each begins in turn, and follows each: what was freed before is faster to write to.
        for place in range(len(contestants)):
            name, command = list(contestants.items())[(number + place) % len(contestants)]
            seconds[name].append(timed(command, out, makes_out=name.startswith("shard")))
    ours = seconds["shard.py, 2 workers"]
    figures = {
        **about,
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "images_per_second": {
            name: summary([about["images"] / s for s in values], 0)
            for name, values in seconds.items()
        },
        "speed_over_webdataset.ShardWriter": ratio(seconds["webdataset.ShardWriter"], ours),
        "speed_over_tar_cf": ratio(seconds["tar cf"], ours),
        "targets": {"over_webdataset.ShardWriter": 2.0, "over_tar_cf": 0.7},
    }
    write_result("sharding-passthrough", figures, ["webdataset", "simplejpeg", "xxhash"])


def decode(tree: Path, out: Path, about: dict[str, int], rounds: int) -> None:
    cpus = len(os.sched_getaffinity(0))
    images = [
        path.read_bytes() for path in sorted(tree.rglob("*.JPEG"))[: min(2000, about["images"])]
    ]
    ours: list[float] = []
    limit: list[float] = []
    for _ in range(rounds):
        limit.append(decode_rate(images) * cpus)
        command = shard_command(tree, out, "--workers", str(cpus))
        ours.append(about["images"] / timed(command, out, makes_out=True))
    figures = {
        **about,
        "cpus": cpus,
        "images_per_second": {
            "shard.py": summary(ours, 0),
            "libjpeg-turbo on one core, times the CPUs": summary(limit, 0),
        },
        "fraction_of_limit": summary([a / b for a, b in zip(ours, limit, strict=True)]),
        "targets": {"fraction_of_limit": 0.85},
    }
    write_result("sharding-decode", figures, ["simplejpeg", "nvidia-dali-cuda130"])


def decode_rate(images: list[bytes]) -> float:
    """Images per second that one core decodes to RGB."""
    began = time.perf_counter()
    for image in images:
        simplejpeg.decode_jpeg(image, colorspace="RGB")
    return len(images) / (time.perf_counter() - began)


def timed(command: list[str], out: Path, makes_out: bool) -> float:
    """Seconds of a command that fills ``out``, which is emptied before."""
    shutil.rmtree(out, ignore_errors=True)
    if not makes_out:
        out.mkdir()
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def ratio(theirs: list[float], ours: list[float]) -> dict[str, object]:
    """Their seconds over ours, round by round."""
    return summary([a / b for a, b in zip(theirs, ours, strict=True)])


if __name__ == "__main__":
    main()
