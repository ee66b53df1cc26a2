"""A disturbed training beside the undisturbed one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pipeline.checkpoint import folder as on_disk
from pipeline.tracking.journal import read_journal
from tests.dist.kill_rounds import curve, differences, state_of
from tests.dist.nursery import Nursery
from tests.slurm.chaos.findings import (
    Cost,
    apart,
    costs,
    journal_flaws,
    mlflow_flaws,
    points_of,
    steps_on_one_world,
    too_many_repeated,
    ulp_bound,
)
from tests.slurm.chaos.mlflow_server import MlflowServer
from tests.slurm.chaos.run import Disturbed
from tests.slurm.chaos.training import (
    Training,
    final_logits,
    losses,
    train_nudged,
    train_undisturbed,
)


@dataclass(frozen=True)
class Drift:
    """How far two trainings are apart at most, and how far they may be."""

    apart: float
    at_most: float

    @property
    def holds(self) -> bool:
        return self.apart <= self.at_most


@dataclass(frozen=True)
class Judgement:
    """flaws: none where the faults left no trace."""

    costs: list[Cost]
    flaws: list[str]
    bit_equal_until: int
    """The step up to which weights, moments and losses are the same to the last bit."""
    drift: dict[str, Drift] = field(default_factory=dict[str, Drift])
    """Of losses in all steps and of logits for all images in the end, where the world changed."""


def judge(
    disturbed: Disturbed,
    training: Training,
    world: int,
    nudges: int,
    server: MlflowServer,
    nursery: Nursery,
    runs: Path,
) -> Judgement:
    """Train undisturbed, in ``runs``, and compare.

    world: the ranks of both at their start. nudges: trainings that tell how far apart losses and
    logits may be where the world changed. server: has this run alone.
    """
    records = read_journal(disturbed.folder.journal).records
    found = costs(disturbed)
    flaws = journal_flaws(records, training.steps)
    flaws += mlflow_flaws(server.statuses(), server.points(), points_of(records))
    flaws += too_many_repeated(found, training.checkpoint_steps)
    changed_at = steps_on_one_world(disturbed.starts, world)
    undisturbed = train_undisturbed(nursery, training, world, changed_at, runs)
    if changed_at is None:
        flaws += differences(disturbed.folder.path, undisturbed)
        return Judgement(found, flaws, training.steps)
    flaws += _differences_until(changed_at, disturbed.folder.path, undisturbed)
    alone, *nudged = train_nudged(nursery, training, nudges, runs)
    compared = [disturbed.folder.path, undisturbed, alone, *nudged]
    drift = {
        "losses": _drift([losses(run) for run in compared]),
        "logits": _drift(final_logits(nursery, training, compared)),
    }
    flaws += [f"{name}: {d}" for name, d in drift.items() if not d.holds]
    return Judgement(found, flaws, changed_at, drift)


def _drift(values: Sequence[Tensor]) -> Drift:
    ours, theirs, alone, *nudged = values
    return Drift(apart(ours, theirs), ulp_bound(alone, nudged))


def _differences_until(step: int, run: Path, undisturbed: Path) -> list[str]:
    """In all points up to that step, and in its checkpoint."""
    ours, theirs = (
        {(key, s): v for key, values in curve(r).items() for s, v in values.items() if s <= step}
        for r in (run, undisturbed)
    )
    found = [f"{p}" for p in sorted(ours.keys() | theirs.keys()) if ours.get(p) != theirs.get(p)]
    if not step:
        return found
    one, two = (state_of(r / "checkpoints" / on_disk.name_of(step)) for r in (run, undisturbed))
    return found + [
        f"{name} at step {step}"
        for name in sorted(one.keys() | two.keys())
        if name not in one or name not in two or not torch.equal(one[name], two[name])
    ]
