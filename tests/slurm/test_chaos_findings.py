"""The chaos test can fail: what it would find if a fault left a trace."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.tracking.run_folder import RunFolder
from tests.slurm.chaos.findings import (
    costs,
    journal_flaws,
    mlflow_flaws,
    points_of,
    steps_on_one_world,
    too_many_repeated,
    ulp_bound,
)
from tests.slurm.chaos.run import Disturbed, Injected
from tests.slurm.chaos.scenario import Scenario
from tests.slurm.chaos.scene import JournalView, read_starts
from tests.slurm.chaos.schedule import appointments

LOG = """\
attempt 0 of job 7 on n[1-3]
run: metaformer in fp32, ZeRO 1, 3 rank(s) on cpu; step = 3 x 10 images
attempt 1 of job 7 on n[1-3]
attempt 2 of job 7 on n[1,3]
run: metaformer in fp32, ZeRO 1, 2 rank(s) on cpu; step = 3 x 10 images
resuming after step 4
attempt 3 of job 7 on n[1,3]
run: metaformer in fp32, ZeRO 1, 2 rank(s) on cpu; step = 3 x 10 images
finished before: nothing to do
"""


def step(number: int, t_ms: int = 0, **more: float) -> dict[str, Any]:
    return {
        "kind": "metrics",
        "step": number,
        "t_ms": t_ms,
        "metrics": {"train/loss": 1.0, **more},
    }


def test_every_step_once() -> None:
    assert journal_flaws([step(1), step(2), step(3)], 3) == []
    assert journal_flaws([step(1), step(3)], 3) == ["journal lacks step 2"]
    twice = journal_flaws([step(1), step(1), step(2)], 2)
    assert twice == ["journal has train/loss of step 1 2 times"]


def test_mlflow_has_one_finished_run_with_every_point() -> None:
    journal = points_of([step(1, 10), step(2, 20)])
    assert mlflow_flaws(["FINISHED"], journal, journal) == []
    assert mlflow_flaws(["FINISHED", "FAILED"], journal, journal)
    assert mlflow_flaws(["RUNNING"], journal, journal)
    assert "lacks 1" in mlflow_flaws(["FINISHED"], journal[1:], journal)[0]
    assert "besides 1" in mlflow_flaws(["FINISHED"], [*journal, journal[0]], journal)[0]


def test_starts_are_read_from_the_log() -> None:
    starts = read_starts(LOG)
    assert [start.nodes for start in starts] == ["n[1-3]", "n[1-3]", "n[1,3]", "n[1,3]"]
    assert [start.ranks for start in starts] == [3, None, 2, 2]
    assert [start.resumed_after for start in starts] == [0, None, 4, None]
    assert steps_on_one_world(starts, 3) == 4
    assert steps_on_one_world(starts[:2], 3) is None


@pytest.mark.parametrize(("kind", "flaws"), [("kill", 0), ("requeue", 1)])
def test_seconds_and_steps_that_a_fault_costs(kind: str, flaws: int) -> None:
    """Steps 5 and 6 were done before it, and are done again after eight seconds."""
    journal = JournalView(RunFolder(Path("nowhere")))
    journal.points = [(n, float(n)) for n in range(7)] + [(7, 15.0), (8, 16.0), (9, 17.0)]
    journal.starts = [(0, 0, 0.0), (2, 6, 14.0)]
    fault = Injected(kind, "a victim", 6.5, 6, 0, is_hasty=False)
    later = Injected("controller", "slurmctld", 15.5, 7, 0, is_hasty=False)
    disturbed = Disturbed(RunFolder(Path("nowhere")), [fault, later], journal, read_starts(LOG))
    first, second = costs(disturbed)
    assert (first.seconds_lost, first.steps_repeated, first.ranks) == (7.5, 2, 2)
    assert (second.seconds_lost, second.steps_repeated, second.ranks) == (0, 0, None)
    assert len(too_many_repeated([first, second], 5)) == flaws
    assert len(too_many_repeated([first], 1)) == 1


def test_faults_are_drawn_from_the_seed() -> None:
    kinds = ["kill", "node", "mlflow", "disk", "mlflow", "requeue"]

    def draw(seed: int) -> list[str]:
        drawn = appointments(random.Random(seed), kinds, 50, early=["mlflow"], hasty=["signal"])
        steps = [fault.step for fault in drawn if fault.step is not None]
        assert steps == sorted(set(steps)) and len(steps) == 6
        assert drawn[0].step is not None, "nothing goes before it that could start again"
        names = [fault.kind for fault in drawn]
        assert sorted(names) == sorted([*kinds, "signal"])
        at_work = [name for name in names if name != "signal"]
        assert "mlflow" not in at_work[3:]
        return names

    assert draw(1) == draw(1)
    assert len({tuple(draw(seed)) for seed in range(5)}) > 1


def test_an_elastic_training_has_to_shrink_and_to_grow_again() -> None:
    elastic = Scenario("of two or three", 2, 3, (), (), steps=9)
    starts = read_starts(LOG)
    assert elastic.flaws(starts) == ["never again on 3 nodes: [3, 2]"]
    assert elastic.flaws([*starts[::2], starts[0]]) == []
    assert elastic.flaws(starts[:1]) == ["never on 2 nodes: [3]"]
    assert Scenario("fixed", 3, 3, (), (), steps=9).flaws(starts) == ["ranks were [3, 2]"]


def test_the_bound_is_three_typical_nudges() -> None:
    alone = torch.zeros(2)
    assert ulp_bound(alone, [alone + 1, alone + 2, alone - 9]) == 6
