"""How the cost of sharding grows: time and memory from 10 k tiny images to ImageNet's number.

python tests/benchmarks/scale.py folders|archive [--most N] [--tmp DIR]

folders   class folders of 10 k, 40 k, 160 k, 640 k and 1.28 M images, sharded by two workers with
          1,250 to a shard; a line through the times says whether they are linear
archive   ILSVRC2012_img_train.tar with 1.28 M tiny members: the time to index it before the first
          image is read

Images are 16 pixels wide, so that names and counts are what costs. Give a tmpfs as DIR.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import psutil
from PIL import Image

from data_prep.imagenet1k import wnids
from data_prep.sources.archives import TRAIN, open_source
from tests.benchmarks.record import shard_command, summary, write_result

_SIZES = (10_000, 40_000, 160_000, 640_000, 1_281_167)
_ROUNDS = 3
_FLAGS = ("--samples-per-shard", "1250", "--workers", "2", "--check", "header", "--allow-partial")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=["folders", "archive"])
    parser.add_argument("--most", type=int, metavar="N", default=_SIZES[-1])
    parser.add_argument("--tmp", type=Path, metavar="DIR", default=Path("/dev/shm"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.tmp) as folder:
        {"folders": folders, "archive": archive}[args.benchmark](Path(folder), args.most)


def folders(folder: Path, most: int) -> None:
    figures: list[dict[str, Any]] = []
    tree, planted = folder / "tree", 0
    for size in (size for size in _SIZES if size <= most):
        plant(tree, planted, size)
        planted = size
        seconds: list[float] = []
        memory: dict[str, float] = {}
        for _ in range(_ROUNDS):
            took, memory = watched(shard_command(tree, folder / "out", *_FLAGS))
            seconds.append(took)
            shutil.rmtree(folder / "out")
        figures.append({"images": size, "seconds": summary(seconds, 2), **memory})
        print(figures[-1], file=sys.stderr)
    images = np.array([run["images"] for run in figures])
    medians = np.array([run["seconds"]["median"] for run in figures])
    # Weighted, so that the line is as true for the small sizes as for the large ones.
    slope, start = np.polyfit(images, medians, 1, w=1 / medians)
    result = {
        "runs": figures,
        "line": {
            "seconds_to_start": round(float(start), 2),
            "microseconds_per_image": round(float(slope) * 1e6, 1),
        },
        "seconds_over_the_line": (medians / (start + slope * images)).round(3).tolist(),
        "targets": {"seconds_over_the_line": [0.85, 1.15], "peak_mb_of_any_process": 400},
    }
    write_result("sharding-scale", result, ["numpy", "simplejpeg"])


def archive(folder: Path, most: int) -> None:
    image, classes = tiny(), wnids()
    began = time.perf_counter()
    with tarfile.open(folder / TRAIN, "w", format=tarfile.GNU_FORMAT) as outer:
        for i, wnid in enumerate(classes):
            numbers = range(i * most // len(classes), (i + 1) * most // len(classes))
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for number in numbers:
                    add(tar, f"{wnid}_{number}.JPEG", image + number.to_bytes(4, "little"))
            add(outer, f"{wnid}.tar", inner.getvalue())
    print(f"made in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    began = time.perf_counter()
    source = open_source(folder, "train")
    index_seconds = time.perf_counter() - began
    assert len(source.listings[0].entries) == most
    seconds, memory = watched(shard_command(folder, folder.with_name("out"), *_FLAGS))
    shutil.rmtree(folder.with_name("out"))
    result = {
        "members": most,
        "index_seconds": round(index_seconds, 1),
        "seconds_of_the_whole_with_tiny_images": round(seconds, 1),
        "share_of_the_whole_with_tiny_images": round(index_seconds / seconds, 3),
        **memory,
    }
    write_result("sharding-archive-index", result, ["numpy"])


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def tiny() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=50)
    return buffer.getvalue()


def plant(tree: Path, start: int, stop: int) -> None:
    """Images ``start`` to ``stop``, all different, as ``<wnid>/<wnid>_<number>.JPEG``."""
    image, classes = tiny(), wnids()
    for wnid in classes:
        (tree / wnid).mkdir(parents=True, exist_ok=True)
    for number in range(start, stop):
        wnid = classes[number % len(classes)]
        # Decoders ignore what follows the end marker.
        (tree / wnid / f"{wnid}_{number}.JPEG").write_bytes(image + number.to_bytes(4, "little"))


def watched(command: list[str]) -> tuple[float, dict[str, float]]:
    """Seconds of a command, and the highest memory of its main process and of the others."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    main, others = 0, 0
    while process.poll() is None:
        main = max(main, peak_kb(process.pid))
        try:
            children = psutil.Process(process.pid).children()
        except psutil.Error:
            children = []
        others = max([others, *(peak_kb(child.pid) for child in children)])
        time.sleep(0.05)
    seconds = time.perf_counter() - began
    _, told = process.communicate()
    if process.returncode:
        sys.exit(f"{command} failed: {told.decode()}")
    return seconds, {
        "peak_mb_main": round(main / 1024, 1),
        "peak_mb_worker": round(others / 1024, 1),
    }


def peak_kb(pid: int) -> int:
    """VmHWM, which counts what a fork shares with its parent as well."""
    try:
        with open(f"/proc/{pid}/status") as status:
            found = [line.split()[1] for line in status if line.startswith("VmHWM")]
    except OSError:
        return 0
    return int(found[0]) if found else 0


if __name__ == "__main__":
    main()
