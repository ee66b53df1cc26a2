"""What becomes of a job by how its ranks ended."""

import pytest

from pipeline.watchdog import Culprit, Verdict
from slurm.aftermath.decision import Decision, decide
from slurm.aftermath.endings import Ending
from slurm.aftermath.evidence import Death, Evidence, first_deaths
from slurm.records import FaultKind, FaultRecord

KILLED = [Death("n2", 3, "Killed")]


def ended(code: int, rank: int = 0, at_s: float = 1.0, unfit: bool = False) -> Ending:
    return Ending(rank, f"n{rank + 1}", code, "what it said", unfit, at_s)


def stuck(node: str) -> Verdict:
    return Verdict((Culprit(2, node, "stopped"),), f"rank 2 on {node} kept 7 ranks waiting")


def left(
    code: int,
    *endings: Ending,
    deaths: list[Death] | None = None,
    verdict: Verdict | None = None,
    saved_step: int = 10,
) -> Evidence:
    earliest_first = sorted(endings, key=lambda ending: ending.at_s)
    return Evidence(code, earliest_first, deaths or [], verdict, saved_step + 3, saved_step)


def past(
    *saved_steps: int, kind: FaultKind = "killed", node: str | None = "n3"
) -> list[FaultRecord]:
    return [
        FaultRecord(0.0, "7", attempt, kind, "", step + 3, step, "requeued", node, 2)
        for attempt, step in enumerate(saved_steps)
    ]


def test_a_good_end_is_the_end() -> None:
    assert decide(left(0), []) == Decision(0)


def test_a_saved_training_is_queued_again_whatever_killed_ranks_afterwards() -> None:
    decision = decide(left(143, ended(6), ended(1, rank=1, at_s=0.5), deaths=KILLED), [])
    assert decision.is_requeued and not decision.faults and decision.exit_code == 6


@pytest.mark.parametrize("code", [2, 4, 5, 130])
def test_what_another_start_cannot_mend_ends(code: int) -> None:
    decision = decide(left(143, ended(code), ended(1, rank=1, at_s=2.0)), [])
    assert (decision.exit_code, decision.is_requeued) == (code, False)
    assert [fault.message for fault in decision.faults] == ["what it said"]


def test_a_killed_rank_is_blamed_and_not_those_that_lost_it() -> None:
    decision = decide(left(143, ended(1), ended(1, rank=1), deaths=KILLED), [])
    assert decision.is_requeued and not decision.excluded
    [fault] = decision.faults
    assert (fault.kind, fault.node, fault.rank) == ("killed", "n2", 3)


@pytest.mark.parametrize(
    ("history", "requeued"),
    [
        (past(10, 10), True),
        (past(10, 10, 10), False),
        (past(0, 5, 9, 10), True),
        (past(0, 0, 0, 0), True),
    ],
)
def test_killed_jobs_go_on_as_long_as_they_come_further(
    history: list[FaultRecord], requeued: bool
) -> None:
    assert decide(left(137, deaths=KILLED), history).is_requeued is requeued


def test_an_error_has_one_more_try() -> None:
    evidence = left(1, ended(1, rank=1, at_s=2.0), ended(1, at_s=1.0))
    first = decide(evidence, [])
    assert first.is_requeued and [fault.rank for fault in first.faults] == [0]
    assert not decide(evidence, past(10, kind="error")).is_requeued
    assert decide(evidence, past(9, kind="error")).is_requeued, "it had come further"


def test_a_stuck_rank_is_named_and_its_node_avoided_the_second_time() -> None:
    evidence = left(137, ended(1), deaths=KILLED, verdict=stuck("n3"))
    first = decide(evidence, past(4, kind="killed"))
    assert first.is_requeued and first.excluded == ()
    assert [(f.kind, f.node, f.rank) for f in first.faults] == [("stuck", "n3", 2)]
    assert decide(evidence, past(4, kind="stuck")).excluded == ("n3",)
    assert decide(evidence, past(4, kind="stuck", node="n4")).excluded == ()


def test_an_unfit_node_is_avoided_at_once_and_an_unfit_job_ends() -> None:
    unfit = decide(left(3, ended(3, rank=4, unfit=True)), [])
    assert unfit.is_requeued and unfit.excluded == ("n5",)
    everywhere = decide(left(3, ended(3)), [])
    assert (everywhere.is_requeued, everywhere.exit_code) == (False, 3)


def test_nobody_could_say_anything() -> None:
    decision = decide(left(137), [])
    assert decision.is_requeued and "no rank said why" in decision.faults[0].message


LOG = """\
attempt 0 of job 7 on n[1-4]
srun: error: n4: task 7: Killed
attempt 1 of job 7 on n[1-4]
warning: something of ours
srun: error: n1: task 0: Exited with exit code 1
srun: error: n2: task 3: Segmentation fault (core dumped)
srun: launch/slurm: _step_signal: Terminating StepId=7.0
slurmstepd-n1: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-11-24T10:52:05 ***
srun: error: n2: task 2: Killed
srun: error: n1: tasks 0-1: Terminated
"""


def test_the_first_death_is_found_in_srun_s_words() -> None:
    assert first_deaths(LOG) == [Death("n2", 3, "Segmentation fault")]
    assert first_deaths(LOG, attempts_ago=1) == [Death("n4", 7, "Killed")]
    assert first_deaths("attempt 0\nsrun: error: n3: tasks 4-5,7: Killed\n") == [
        Death("n3", rank, "Killed") for rank in (4, 5, 7)
    ]
    assert first_deaths(LOG, attempts_ago=1) == [Death("n4", 7, "Killed")]
    assert first_deaths("attempt 0\nsrun: error: n3: task 4: Exited with exit code 1\n") == []
    lost = "srun: error: Node failure on n3\nsrun: Job step aborted: Waiting up to 32 seconds\n"
    assert first_deaths(f"attempt 0\n{lost}") == [Death("n3", None, "its node failed")]
    memory = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0\n"
    assert first_deaths(f"srun: error: n2: task 1: Killed\n{memory}")[0].how == (
        "Killed (out of memory)"
    )
