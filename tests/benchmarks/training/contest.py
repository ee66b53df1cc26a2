"""The training loop beside one that is written from timm's parts, in one run.

python tests/benchmarks/training/contest.py PHOTOS [--rounds N] [--steps N] [--tmp DIR]

Both train PoolFormer-S12 on 64 pixel crops of the same photographs, from the same tars in DIR, a
tmpfs, with the paper's whole augmentation, AdamW, batches of 64, channels_last, first in bf16 and
then in fp32, on the
same two CPUs with two threads and two decoding threads or workers. Ours is the real loop: DALI,
DeepSpeed ZeRO 1 with fp32 masters, journal and progress. timm's is its create_loader, its mixup
in the collate function, autocast and create_optimizer_v2; its model pools before the head's norm.
Evaluations and checkpoints are not part of it on either side. Each lap is a process of its own;
the two take turns, and a ratio is that of two laps of the same round.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[3])

from tests.benchmarks.loader.material import WORKERS, Material, make_material
from tests.benchmarks.record import summary, write_result
from tests.benchmarks.training.ours import BATCH, SIDE

_WARM_UP = 6
_TARGET = 1.15
_DTYPES = ("bf16", "fp32")
_LOOPS = {"this project": "ours", "timm's parts": "timm_loop"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--rounds", type=int, metavar="N", default=5)
    parser.add_argument("--steps", type=int, metavar="N", default=40, help="measured")
    parser.add_argument("--tmp", type=Path, metavar="DIR", default=Path("/dev/shm"))
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:WORKERS])
    figures: dict[str, Any] = {
        "model": f"PoolFormer-S12, {SIDE} px, channels_last",
        "batch": BATCH,
        "threads": WORKERS,
        "images_measured": args.steps * BATCH,
        "target": _TARGET,
    }
    with tempfile.TemporaryDirectory(dir=args.tmp) as folder:
        # One epoch is longer than what is measured: nobody starts one meanwhile.
        material, _ = make_material(args.photos, Path(folder), (_WARM_UP + args.steps + 8) * BATCH)
        for dtype in _DTYPES:
            figures[dtype] = contest(material, dtype, args.rounds, args.steps)
    write_result("training", figures, ("torch", "deepspeed", "timm", "nvidia-dali-cuda130"))


def contest(material: Material, dtype: str, rounds: int, steps: int) -> dict[str, Any]:
    """Laps in turn, and what they say."""
    laps: dict[str, list[dict[str, float]]] = {title: [] for title in _LOOPS}
    for number in range(rounds):
        for title in list(_LOOPS)[:: 1 if number % 2 else -1]:
            laps[title].append(lap(_LOOPS[title], material, dtype, steps))
            rate = steps * BATCH / laps[title][-1]["seconds"]
            print(f"{dtype} {number + 1}/{rounds} {title}: {rate:.0f} images/s", file=sys.stderr)
    ours, theirs = (laps[title] for title in _LOOPS)
    return {
        "images_per_second": {
            title: summary([steps * BATCH / one["seconds"] for one in own], 1)
            for title, own in laps.items()
        },
        "cpu_milliseconds_per_image": {
            title: summary([1000 * one["cpu_seconds"] / (steps * BATCH) for one in own], 2)
            for title, own in laps.items()
        },
        "speed_of_ours": summary(
            [b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True)]
        ),
        "in_cpu_time": summary(
            [b["cpu_seconds"] / a["cpu_seconds"] for a, b in zip(ours, theirs, strict=True)]
        ),
    }


def lap(name: str, material: Material, dtype: str, steps: int) -> dict[str, float]:
    """What so many steps of a loop took, in a process of its own."""
    script = Path(__file__).with_name("lap.py")
    words = [name, material.folder, dtype, _WARM_UP, steps]
    command = [sys.executable, str(script), *map(str, words)]
    shutil.rmtree(material.folder / "runs", ignore_errors=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not done.stdout.strip():
        sys.exit(f"{name} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
