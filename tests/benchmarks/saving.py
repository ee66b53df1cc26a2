"""What saving and restoring a checkpoint costs, beside what the disk and the processor allow.

python tests/benchmarks/saving.py [CONFIG] [--rounds N] [--tmp DIR]

The model of CONFIG (configs/m48.yaml) on one rank on the CPU, in bf16 under ZeRO 1, saves and
restores; the same number of bytes is written with one fsync, and hashed. A save halts the training,
so its seconds stand beside those between two saves: checkpoint.every_minutes. Others' processes
on the machine (its load average at the start) make all of it slower.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from pipeline.checkpoint import Checkpoints, Progress
from pipeline.checkpoint import folder as on_disk
from pipeline.collective import Collective, connect
from pipeline.config import Config, load
from pipeline.engine import Engine
from pipeline.models.build import build_model
from pipeline.optim import build_optimizer
from pipeline.plan import make_plan
from pipeline.tracking.tracker import SilentTracker
from pipeline.world import World
from tests.benchmarks.record import ROOT, summary, write_result

_OVERRIDES = ("device=cpu", "train.global_batch=4", "train.micro_batch=4")
_SAMPLES = 1000
PARTS = {
    "gathering": (Checkpoints, "_share"),
    "writing": (on_disk, "save_file"),
    "fsync": (os, "fsync"),
    "hashing": (on_disk, "_sha256"),
}
"""Where the seconds of a save go: from the engine to the host, into files, to the disk, and back
for the list."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", default=ROOT / "configs/m48.yaml")
    parser.add_argument("--rounds", type=int, metavar="N", default=3)
    parser.add_argument("--tmp", type=Path, metavar="DIR", help="needs 3 GB (default: /tmp)")
    args = parser.parse_args()
    busy = os.getloadavg()[0]
    config = load(args.config, _OVERRIDES).config
    collective = connect(World(), "cpu", 600)
    engine = engine_of(config, collective)
    images = torch.zeros(1, 3, config.augment.img_size, config.augment.img_size).bfloat16()
    engine.create_moments(images)
    with tempfile.TemporaryDirectory(dir=args.tmp) as folder:
        root = Path(folder)
        checkpoints = Checkpoints(
            root / "checkpoints", collective, config.checkpoint, SilentTracker()
        )
        rounds = [
            one_round(checkpoints, engine, images, root, number)
            for number in range(1, args.rounds + 1)
        ]
    collective.close()
    seconds = {key: summary([one[key] for one in rounds], 2) for key in rounds[0]}
    every_s = 60 * (config.checkpoint.every_minutes or 10)
    figures = {
        "model": config.name,
        "dtype": config.engine.dtype,
        "zero_stage": config.engine.zero_stage,
        "seconds": seconds,
        "megabytes": seconds.pop("megabytes")["median"],
        "processes_of_others": round(busy, 1),
        "interval_s": every_s,
        "save_pct_of_the_interval": round(100 * seconds["save"]["median"] / every_s, 2),
    }
    write_result("saving", figures, ["torch", "deepspeed", "safetensors"])


def engine_of(config: Config, collective: Collective) -> Engine:
    plan = make_plan(config, 1, _SAMPLES, _SAMPLES)
    model = build_model(config.model, config.seed, config.augment.img_size)
    optimizer = build_optimizer(model, config.optim, plan.lr_peak)
    return Engine(model, optimizer, config, plan, collective)


def one_round(
    checkpoints: Checkpoints, engine: Engine, images: torch.Tensor, root: Path, number: int
) -> dict[str, float]:
    progress = Progress(step=number, updates=1)
    with timed() as parts:
        save_s = seconds_of(lambda: checkpoints.save(engine, progress, must=True))
    found = {"save": save_s, **parts}
    restored = seconds_of(lambda: checkpoints.restore(engine, images))
    folder = root / "checkpoints" / on_disk.name_of(number)
    size = sum(path.stat().st_size for path in folder.iterdir())
    block = os.urandom(1 << 20) * 64
    found |= {
        "restore": restored,
        "limit_one_file_and_fsync": seconds_of(lambda: plain_write(root / "plain", block, size)),
        "limit_sha256": seconds_of(lambda: plain_hash(block, size)),
        "megabytes": size / 1e6,
    }
    print(found, file=sys.stderr)
    return found


def seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Within, the seconds of each part add up."""
    spent = dict.fromkeys(PARTS, 0.0)
    originals = {name: getattr(*PARTS[name]) for name in PARTS}

    def timing(name: str) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return originals[name](*args)
            finally:
                spent[name] += time.perf_counter() - began

        return run

    for name, (owner, attribute) in PARTS.items():
        setattr(owner, attribute, timing(name))
    try:
        yield spent
    finally:
        for name, (owner, attribute) in PARTS.items():
            setattr(owner, attribute, originals[name])


def plain_write(path: Path, block: bytes, size: int) -> None:
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: min(len(block), size - start)])
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def plain_hash(block: bytes, size: int) -> None:
    digest = hashlib.sha256()
    for start in range(0, size, len(block)):
        digest.update(block[: min(len(block), size - start)])


if __name__ == "__main__":
    main()
