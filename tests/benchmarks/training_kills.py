"""Kill trainings at random moments until they are done; each must end as if nobody had.

python tests/benchmarks/training_kills.py [--kills N] [--seed S] [--tmp DIR]

For each case one training runs through, and others are killed by SIGKILL within steps,
evaluations and saves in turn, one rank alone or all, and started again by the same command. In the
end the fp32 masters, both moments, the average, all buffers, the progress and every curve of the
journal must be those of the unbroken one, to the last bit.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks.record import ROOT, write_result
from tests.dist.kill_rounds import PHASES, kill_rounds, unbroken
from tests.dist.nursery import Nursery
from tests.dist.small_training import small_training

_AVERAGE = "optim.model_ema_decay=0.9"
_BATCH_NORM = "model.metaformer.norm=batch_norm"
_THREE = ("train.micro_batch=60", "checkpoint.every_steps=2")


@dataclass(frozen=True)
class Case:
    """A training, by what differs from the small one."""

    world: int
    overrides: tuple[str, ...]


CASES = {
    "1 rank, fp32, ZeRO 0": Case(1, ("engine.zero_stage=0",)),
    "2 ranks, fp32, ZeRO 1, average, BatchNorm": Case(2, (_AVERAGE, _BATCH_NORM)),
    "2 ranks, bf16, ZeRO 1, average": Case(2, ("engine.dtype=bf16", _AVERAGE)),
    "2 ranks, bf16, ZeRO 2, random mixers, BatchNorm": Case(
        2,
        (
            "engine.dtype=bf16",
            "engine.zero_stage=2",
            _BATCH_NORM,
            "model.metaformer.token_mixers=[random,pooling]",
        ),
    ),
    "3 ranks, fp32, ZeRO 2, frozen stem": Case(
        3, ("engine.zero_stage=2", "model.freeze=[stem.*]", *_THREE)
    ),
    "3 ranks, bf16, ZeRO 3, average, BatchNorm": Case(
        3, ("engine.dtype=bf16", "engine.zero_stage=3", _AVERAGE, _BATCH_NORM, *_THREE)
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, metavar="N", default=20, help="per case (default 20)")
    parser.add_argument("--seed", type=int, metavar="S", default=0)
    parser.add_argument("--tmp", type=Path, metavar="DIR")
    args = parser.parse_args()
    began, figures = time.perf_counter(), {}
    with tempfile.TemporaryDirectory(dir=args.tmp) as folder, Nursery() as nursery:
        shards = digit_shards(Path(folder))
        for number, (name, case) in enumerate(CASES.items()):
            rng = random.Random(args.seed + number)
            runs = Path(folder) / f"runs-{number}"
            figures[name] = of_case(nursery, case, runs, shards, rng, args.kills)
            print(name, figures[name], file=sys.stderr, flush=True)
    hits: Counter[str] = Counter()
    for found in figures.values():
        hits.update(found["kills_within"])
    is_equal = all(found["bit_equal"] for found in figures.values())
    totals = {
        "kills": hits.total(),
        "kills_within": dict(hits),
        "bit_equal": is_equal,
        "seconds": round(time.perf_counter() - began),
    }
    write_result("training-kills", {"all": totals, **figures}, ["torch", "deepspeed"])
    sys.exit(0 if is_equal and all(hits[phase] for phase in PHASES) else 1)


def of_case(
    nursery: Nursery, case: Case, runs: Path, shards: Path, rng: random.Random, kills: int
) -> dict[str, Any]:
    runs.mkdir()

    def arguments(name: str) -> list[object]:
        often = ("checkpoint.every_steps=3", "tracking.every_steps=2")
        return small_training(name, runs, shards, *often, *case.overrides)

    began = time.perf_counter()
    durations = unbroken(nursery, case.world, arguments("unbroken"), runs / "durations.json")
    reference = runs / "unbroken"
    rounds = kill_rounds(nursery, case.world, arguments, runs, reference, durations, rng, kills)
    return {
        "kills_within": dict(rounds.hits),
        "trainings_finished": rounds.finished,
        "resumed_after_steps": rounds.resumed_after,
        "bit_equal": rounds.differences == [],
        "differences": rounds.differences,
        "seconds": round(time.perf_counter() - began),
    }


def digit_shards(folder: Path) -> Path:
    for command in (
        ("data_prep/digits.py", folder / "digits"),
        ("data_prep/shard.py", folder / "digits", folder / "shards", "--workers", "1"),
    ):
        words = [sys.executable, *map(str, command)]
        subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return folder / "shards"


if __name__ == "__main__":
    main()
