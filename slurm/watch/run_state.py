"""In what state a stage of a run is, in plain words: by its folder and by Slurm; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.log import duration
from slurm.records import FaultRecord, JobRecord, Stage
from slurm.watch.job_state import JobState
from slurm.watch.run_facts import RunFacts
from slurm.watch.waiting import why_it_waits

Word = Literal[
    "new",
    "queued",
    "starting",
    "running",
    "stuck",
    "ending",
    "cancelling",
    "requeued",
    "waits",
    "finished",
    "failed",
    "cancelled",
    "lost",
    "never starts",
    "unknown",
]
"""new: nothing was started. waits: for another stage. stuck: at work, without a sign of life.
ending: its job ends, and may be queued again. cancelling: the same, for good. lost: gone without
a word. never starts: what it waited for has failed. unknown: nobody knows."""
AT_WORK: tuple[Word, ...] = ("starting", "running", "stuck")
GOES_ON: tuple[Word, ...] = (*AT_WORK, "ending", "cancelling", "queued", "requeued", "waits")
"""A job of it waits or runs, as far as anybody knows."""
FAILED: tuple[Word, ...] = ("failed", "cancelled", "never starts")

_SLURM_ENDS = {
    "TIMEOUT": "its time limit was over",
    "DEADLINE": "its deadline was over",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
    "OUT_OF_MEMORY": "out of memory",
    "PREEMPTED": "a more urgent job took its nodes",
    "REVOKED": "Slurm revoked it",
}


@dataclass(frozen=True)
class State:
    """A word, and what there is to add: why it waits, since when it is silent."""

    word: Word
    detail: str = ""


_UNANSWERED = "Slurm does not answer"
_ENDS = State("ending", "its job ends; Slurm decides what follows")


def train_state(
    facts: RunFacts, job: JobRecord | None, slurm: JobState | None, is_known: bool, now_s: float
) -> State:
    """Of the training. job: its last one; is_known: Slurm has been asked, and has answered."""
    if slurm is not None and slurm.is_active:
        assert job is not None
        state = _active(facts, job, slurm, now_s)
        return _cancelling(state, facts) if is_cancelled(facts, job) else state
    is_over = job is None or _has_begun(facts, "train", job)
    if facts.lifecycle.status == "FINISHED" and (is_over or slurm is not None):
        return State("finished")
    if job is not None and is_cancelled(facts, job):
        return State("cancelled")
    if slurm is not None:
        return _ended_by_slurm(facts, slurm)
    if job is not None and (fault := _last_fault(facts, job)) and fault.action == "ended":
        return State("failed")
    if job is not None and not is_known:
        return _unanswered(facts, is_over, now_s)
    return _by_folder(facts, None if is_over else job, is_known, now_s)


def is_cancelled(facts: RunFacts, job: JobRecord) -> bool:
    """Whether a person cancelled this job, and not one of its number on an earlier cluster."""
    at_s = facts.cancelled.get(job.job_id)
    return at_s is not None and at_s >= job.submitted_s


def _cancelling(state: State, facts: RunFacts) -> State:
    """The state of a job that was cancelled, and that Slurm has not removed yet."""
    if state.word == "finished":
        return state
    # By its journal, or before it began: nothing of it is left but its job.
    has_ended = state.word in ("requeued", "failed", "cancelled", "queued")
    has_ended = has_ended or (state.word == "ending" and facts.lifecycle.ended)
    return State("cancelled" if has_ended else "cancelling", "its job is ending")


def _active(facts: RunFacts, job: JobRecord, slurm: JobState, now_s: float) -> State:
    last, status = facts.lifecycle.last, facts.lifecycle.status
    if slurm.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"):
        has_begun = status not in ("NEW", "FINISHED") or bool(slurm.restarts)
        return State("requeued" if has_begun else "queued", why_it_waits(slurm))
    if slurm.state in ("SUSPENDED", "STOPPED"):
        return State("stuck", "suspended by Slurm")
    ended_s = facts.last_record_s if facts.lifecycle.ended else None
    if slurm.state == "COMPLETING":
        # Slurm may have counted the next attempt already.
        return _ending(facts, job) if ended_s else _ENDS
    if last is not None and last["kind"] == "start":
        # Accounting does not count the attempts.
        is_this = slurm.restarts in (None, last.get("attempt"))
        if is_this and last.get("job_id") == slurm.raw_id:
            return _alive(facts, now_s)
    if ended_s is not None and slurm.started_s is not None and ended_s >= slurm.started_s:
        return _ending(facts, job)
    return State("starting")


def _ending(facts: RunFacts, job: JobRecord) -> State:
    """The training has ended, and its job is about to."""
    fault = _last_fault(facts, job)
    if facts.lifecycle.status == "FAILED" and fault is not None and fault.action == "ended":
        return State("failed", "its job is ending")
    words: dict[str, State] = {
        "FINISHED": State("finished"),
        "REQUEUED": State("requeued", "about to be queued again"),
        "KILLED": State("cancelled", "its job is ending"),
    }
    return words.get(facts.lifecycle.status, _ENDS)


def _alive(facts: RunFacts, now_s: float) -> State:
    silent_s = now_s - (facts.sign_of_life_s or now_s)
    if silent_s > facts.patience.journal_s:
        return State("stuck", f"no sign of life for {duration(silent_s)}")
    waited_s = now_s - (facts.last_step_s or now_s)
    if waited_s > facts.patience.step_s:
        return State("stuck", f"no step for {duration(waited_s)}")
    return State("running")


def _ended_by_slurm(facts: RunFacts, slurm: JobState) -> State:
    if slurm.state == "CANCELLED" or facts.lifecycle.status == "KILLED":
        return State("cancelled")
    if slurm.state == "COMPLETED":
        return State("failed", "its job ended before the training did")
    return State("failed", _SLURM_ENDS.get(slurm.state, ""))


def _by_folder(facts: RunFacts, waiting: JobRecord | None, is_known: bool, now_s: float) -> State:
    """waiting: a job that has not begun, as far as the journal says."""
    status = facts.lifecycle.status
    if waiting is not None:
        return State("lost", f"Slurm knows no job {waiting.job_id}, and it never trained")
    if status == "RUNNING":
        alive = _alive(facts, now_s)
        is_silent = now_s - (facts.sign_of_life_s or now_s) > facts.patience.journal_s
        return State("lost", alive.detail) if is_silent else alive
    if status == "LOST":
        process = facts.lifecycle.process
        assert process is not None
        return State("lost", f"process {process.pid} is gone")
    if status == "REQUEUED" and is_known:
        return State("lost", "saved and queued again, but Slurm does not know its job any more")
    words: dict[str, tuple[Word, str]] = {
        "NEW": ("new", "not started"),
        "REQUEUED": ("requeued", ""),
        "FINISHED": ("finished", ""),
        "KILLED": ("cancelled", ""),
    }
    return State(*words.get(status, ("failed", "")))


def _unanswered(facts: RunFacts, is_over: bool, now_s: float) -> State:
    """Of a training with a job while Slurm is silent: what its folder is sure of."""
    if not is_over or facts.lifecycle.status == "REQUEUED":
        return State("unknown", _UNANSWERED)
    state = _by_folder(facts, None, is_known=False, now_s=now_s)
    return State("unknown", f"{_UNANSWERED}; {state.detail}") if state.word == "lost" else state


def chain_state(
    facts: RunFacts,
    stage: Stage,
    job: JobRecord,
    slurm: JobState | None,
    before: Mapping[Stage, State],
) -> State | None:
    """Of a stage that others keep from beginning, those ``before`` it; None where they do not."""
    if _has_begun(facts, stage, job):
        return None
    if is_cancelled(facts, job) and (slurm is None or not slurm.is_active):
        return State("cancelled")
    culprit: Stage | None = next((name for name in before if before[name].word in FAILED), None)
    is_hopeless = slurm is not None and slurm.reason == "DependencyNeverSatisfied"
    if slurm is not None and slurm.state == "PENDING" and not is_hopeless:
        awaited = [name for name, other in facts.last_jobs.items() if _depends(slurm, other)]
        return State("waits", f"for {' and '.join(awaited)}") if awaited else None
    is_removed = slurm is None or (slurm.state == "CANCELLED" and not slurm.nodes)
    if culprit is not None and (is_hopeless or is_removed):
        return State("never starts", f"{culprit} {before[culprit].word}")
    return State("never starts", "the job that it waited for failed") if is_hopeless else None


def side_state(
    facts: RunFacts,
    stage: Stage,
    job: JobRecord,
    slurm: JobState | None,
    is_known: bool,
    before: Mapping[Stage, State],
) -> State:
    """Of a stage beside the training, that those ``before`` it do not keep from beginning."""
    if slurm is not None and slurm.is_active:
        if is_cancelled(facts, job):
            return State("cancelling", "its job is ending")
        if slurm.state != "PENDING":
            return State("running")
        return State("requeued" if slurm.restarts else "queued", why_it_waits(slurm))
    if _has_begun(facts, stage, job) or (slurm is not None and slurm.state == "COMPLETED"):
        return State("finished")
    if slurm is not None and slurm.state == "CANCELLED":
        return State("cancelled")
    if slurm is not None:
        return State("failed", _SLURM_ENDS.get(slurm.state, ""))
    if (fault := _last_fault(facts, job)) and fault.action == "ended":
        return State("failed")
    if not is_known and any(state.word in GOES_ON for state in before.values()):
        return State("waits", f"for {list(before)[-1]}")
    return State("unknown", "Slurm does not know its job any more" if is_known else _UNANSWERED)


def _has_begun(facts: RunFacts, stage: Stage, job: JobRecord) -> bool:
    """By what a stage leaves: a training its start, others what they are there for."""
    moment_s = facts.evaluated_s if stage == "evaluate" else facts.last_record_s
    return moment_s is not None and moment_s >= job.submitted_s


def _depends(slurm: JobState, other: JobRecord) -> bool:
    # afterok:12(unfulfilled),afterok:13_2(unfulfilled)
    words = (slurm.dependency or "").replace("(", ":").replace("_*", "").split(":")
    return other.job_id in words


def _last_fault(facts: RunFacts, job: JobRecord) -> FaultRecord | None:
    faults = [fault for fault in facts.faults if fault.job_id == job.job_id]
    return faults[-1] if faults else None
