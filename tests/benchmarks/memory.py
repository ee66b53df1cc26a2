"""Whether the loader's memory grows: 20 epochs of the full recipe over photographs.

python tests/benchmarks/memory.py PHOTOS [--images 400] [--epochs 20]

The resident memory is noted at each epoch's end, by the same process; the slope is a least
squares line over the second half, when every buffer has met its largest batch.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from pipeline.config import load
from pipeline.data.loader import Loader
from pipeline.device import open_device
from pipeline.plan import make_plan, open_splits
from pipeline.world import World
from tests.benchmarks.loader.material import make_material
from tests.benchmarks.record import ROOT, write_result

_BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder with class folders of JPEGs")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        material, _ = make_material(args.photos, Path(folder), args.images)
        megabytes = resident_mb(material.shards, material.classes, args.epochs)
    half = megabytes[len(megabytes) // 2 :]
    slope = float(np.polyfit(np.arange(len(half)), half, 1)[0])
    figures = {
        "images": args.images,
        "epochs": args.epochs,
        "resident_mb": [round(value, 1) for value in megabytes],
        "slope_mb_per_epoch": round(slope, 3),
    }
    write_result("loader-memory", figures, ["nvidia-dali-cuda130", "torch"])


def resident_mb(shards: Path, classes: int, epochs: int) -> list[float]:
    """Resident memory of this process at the end of each epoch, in MB."""
    overrides = [
        f"data.root={shards}",
        "data.val_split=train",
        "device=cpu",
        "data.decode_threads=2",
        f"model.num_classes={classes}",
        f"train.global_batch={_BATCH}",
        f"train.micro_batch={_BATCH}",
    ]
    config = load(ROOT / "configs/s12.yaml", overrides).config
    splits = open_splits(config)
    plan = make_plan(config, 1, *map(len, splits))
    loader = Loader(config, plan, 0, open_device(config, World()), *splits, np.zeros(0))
    found: list[float] = []
    for step in loader.steps(0):
        if (step.number + 1) % plan.steps_per_epoch == 0:
            found.append(_resident_mb())
            if len(found) == epochs:
                break
    return found


def _resident_mb() -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
