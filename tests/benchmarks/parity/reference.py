"""Run once: the plain training of each row, its states, and what nudging one weight does.

python -m tests.benchmarks.parity.reference WORK SHARDS STEPS STATES NUDGES ROW...
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.benchmarks.parity.batches import batches_of, digests
from tests.benchmarks.parity.cases import Case, config_of
from tests.benchmarks.parity.plain import Plain
from tests.benchmarks.parity.results import Outcome, save, state_path

_STRIDE = 997
"""Between the weights that are nudged: a prime, so that they lie in many layers."""


def main() -> None:
    work, shards = Path(sys.argv[1]), Path(sys.argv[2])
    steps, nudges = int(sys.argv[3]), int(sys.argv[5])
    states = [int(word) for word in sys.argv[4].split(",")]
    torch.set_num_threads(1)
    for row in sys.argv[6:]:
        train_plainly(row, work, shards, steps, states, nudges)


def train_plainly(
    row: str, work: Path, shards: Path, steps: int, states: list[int], nudges: int
) -> None:
    """Write the row's states, single steps and curve, and the curves of nudged trainings."""
    config = config_of(Case(1, row=row), shards, steps + 1)
    batches = batches_of(config, 0, 1)
    plan, watched = batches.plan, {}
    plain = Plain(config, plan)
    curve = []
    for step in batches.steps:
        if step.number in states:
            save_file(plain.state(), state_path(work, row, step.number))
            watched[step.number] = plain.examine(step, batches.questions)
            curve.append(watched[step.number].losses)
        else:
            curve.append(plain.step(step))
    nudged = [
        Plain(config, plan, number * _STRIDE).train(batches.steps[:steps]).double().mean(1)
        for number in range(nudges)
    ]
    outcome = Outcome(
        torch.stack(curve[:steps]),
        digests(batches.steps, plan.micro_batches),
        watched,
        {"nudged_curves": [nudge.tolist() for nudge in nudged]},
    )
    save(work / f"{row}-plain", outcome)


if __name__ == "__main__":
    main()
