"""Jobs in which the last rank goes wrong: it is named and the job ends, or nothing is said."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.watchdog import Verdict, read_verdict, stuck_folder
from tests.dist.nursery import Ended, Nursery
from tests.dist.small_training import small_training
from tests.watchdog.test_watching import gone_in_time

WORLD = 3
TIMEOUT_S = 8
PATIENT_S = 4


class Job(NamedTuple):
    """A job that has ended."""

    ranks: list[Ended]
    seconds: float
    """Since the last rank went wrong; -1 where it did not say so."""
    logs: Path
    watchers: list[int]

    @property
    def codes(self) -> list[int]:
        return [rank.code for rank in self.ranks]

    @property
    def verdict(self) -> Verdict | None:
        return read_verdict(stuck_folder(self.logs, None, 0))


@pytest.fixture
def run(nursery: Nursery, tmp_path: Path) -> Callable[[str, int], Job]:
    def run_mode(mode: str, timeout_s: int) -> Job:
        logs = tmp_path / "run/logs"
        module = "tests.watchdog.stuck_rank"
        ranks = nursery.run(WORLD, module, mode, timeout_s, logs, timeout_s=60, grace_s=5)
        now_s = time.time()
        told = [rank.stdout.split() for rank in ranks]
        began_s = float(told[-1][1]) if len(told[-1]) > 1 else now_s + 1
        return Job(ranks, now_s - began_s, logs, [int(words[0]) for words in told])

    return run_mode


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("stop_itself", "it was stopped (state T) at "),
        ("sleep_in_python", 'since "gradients, step 2"; it was sleeping (state S) at '),
        ("keep_the_interpreter", 'since "gradients, step 2"; it was running (state R, '),
        ("wait_in_the_kernel", "it was in an uninterruptible wait (state D) at "),
        ("sleep_within_an_exchange", "it was not waiting as the others were, but sleeping"),
    ],
)
def test_a_stuck_rank_ends_the_job_in_time_and_is_named(
    run: Callable[[str, int], Job], mode: str, why: str
) -> None:
    job = run(mode, TIMEOUT_S)
    assert job.codes == [-9] * WORLD
    assert TIMEOUT_S / 2 < job.seconds < TIMEOUT_S
    found = job.verdict
    assert found is not None
    assert [culprit.rank for culprit in found.culprits] == [WORLD - 1]
    assert f"rank {WORLD - 1} on " in found.text and "kept 2 ranks waiting for " in found.text
    assert '(engine.collective_timeout_s=8) in "agreement, step 3"' in found.text
    assert why in found.text
    assert "tests/watchdog/stuck_rank.py:" in found.text and f" {mode}" in found.text
    # The job's log says it once, with the stack.
    errors = [rank.stderr for rank in job.ranks]
    assert errors[0].startswith(f"error: {found.text}; reports: ") and errors[1:] == ["", ""]
    assert 'stuck_rank.py", line' in errors[0].partition("\n")[2]
    assert all(map(gone_in_time, job.watchers))


@pytest.mark.parametrize("mode", ["be_slow", "suspend", "suspend_with_watchers"])
def test_what_is_no_stuck_rank_is_left_alone(run: Callable[[str, int], Job], mode: str) -> None:
    job = run(mode, PATIENT_S)
    assert job.codes == [0] * WORLD, [rank.stderr for rank in job.ranks]
    assert not job.logs.parent.exists(), "nothing is left behind"
    assert all(map(gone_in_time, job.watchers))


def test_a_killed_rank_is_no_matter_of_the_watchers(run: Callable[[str, int], Job]) -> None:
    job = run("be_killed", TIMEOUT_S)
    assert job.codes == [1, 1, -9]
    assert job.verdict is None
    assert all(map(gone_in_time, job.watchers))


def test_a_training_says_in_which_step_it_was(
    nursery: Nursery, digit_shards: Path, tmp_path: Path
) -> None:
    args = small_training("stuck", tmp_path, digit_shards, "engine.collective_timeout_s=6")
    began_s = time.monotonic()
    ranks = nursery.run(2, "tests.watchdog.stopped_training", *args, env={"STOP_AT": "5"})
    assert [rank.code for rank in ranks] == [-9, -9]
    assert time.monotonic() - began_s < 60
    found = read_verdict(stuck_folder(tmp_path / "stuck/logs", None, 0))
    assert found is not None
    assert [culprit.rank for culprit in found.culprits] == [1]
    assert 'in "gradients, step 5": it was stopped (state T) at ' in found.text
    journal = (tmp_path / "stuck/journal.jsonl").read_text().splitlines()
    steps = [record["step"] for record in map(json.loads, journal) if record["kind"] == "metrics"]
    assert steps == [4], "no step after it"
