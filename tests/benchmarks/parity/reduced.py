"""The harness on few ranks and steps, for the tests."""

from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.parity.cases import STAGES, Case, Task, stage_cases, world_cases
from tests.benchmarks.parity.judge import Check, checks
from tests.benchmarks.parity.launch import run_reference, run_tasks
from tests.benchmarks.parity.results import Outcome, read

ROWS = ("pooling", "uneven", "batch_norm")
STEPS, STATES, NUDGES = 12, (0, 6, 12), 3
STAGE_WORLD = 2
WORLDS = (1, 2, 3)
UNREDUCED = Case(STAGE_WORLD, dtype="bf16", reduction="none")
"""Must fail: the ranks keep their gradients to themselves."""


@dataclass(frozen=True)
class Reduced:
    """What was found."""

    plain: dict[str, Outcome]
    """By row."""
    outcomes: dict[Case, Outcome]
    weights: dict[Case, Outcome]
    """Memory and traffic of bf16 with one micro-batch per rank, by stage."""

    def checks(self) -> list[Check]:
        """Of all cases but the one that must fail."""
        sound = {case: o for case, o in self.outcomes.items() if case != UNREDUCED}
        return list(checks(sound, self.plain, STATES))


def cases_of(world: int) -> list[Case]:
    """All stages on two ranks; the default stage of every row on all worlds."""
    found = dict.fromkeys(world_cases(ROWS, [world]))
    if world == STAGE_WORLD:
        found |= dict.fromkeys([*stage_cases([world]), UNREDUCED])
    return sorted(found, key=lambda case: (case.row, case.dtype, case.accumulates))


def weighed_cases() -> list[Case]:
    """The four stages with the dtypes that ZeRO's formula is written for."""
    return [Case(STAGE_WORLD, stage, "bf16", "large", accumulates=False) for stage in STAGES]


def run(work: Path, shards: Path) -> Reduced:
    """About a minute on two cores."""
    run_reference(work, shards, STEPS, STATES, NUDGES, ROWS)
    for world in WORLDS:
        tasks = [Task(case, STEPS, STATES) for case in cases_of(world)]
        if world == STAGE_WORLD:
            tasks += [Task(case, 1, weighs=True) for case in weighed_cases()]
        run_tasks(work, shards, world, tasks)
    cases = [case for world in WORLDS for case in cases_of(world)]
    return Reduced(
        {row: read(work / f"{row}-plain") for row in ROWS},
        {case: read(work / case.name) for case in cases},
        {case: read(work / case.name) for case in weighed_cases()},
    )
