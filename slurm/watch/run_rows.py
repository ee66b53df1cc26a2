"""The rows of a table of runs: what there is to know of each stage of a run; pure."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm.records import STAGES, FaultRecord, JobRecord, Stage
from slurm.watch.controller import Answer
from slurm.watch.job_state import JobState
from slurm.watch.run_facts import RunFacts
from slurm.watch.run_state import State, Word, chain_state, side_state, train_state

_FRESH_S = 300.0
"""For how long an error is told that the training has overcome."""


@dataclass(frozen=True)
class Row:
    """A stage of a run, as ``status`` shows it. Times in seconds; moments since the epoch."""

    run: str
    stage: Stage
    job_id: str | None
    """None for a run on this machine."""
    state: Word
    detail: str
    step: int | None
    total_steps: int | None
    epoch: str | None
    """3/310."""
    img_per_s: float | None
    top1: float | None
    """Percent, of the last evaluation; of the evaluate stage its own."""
    eta_s: float | None
    """Until the last step, without time in the queue."""
    time_left_s: float | None
    """Of the allocation."""
    nodes: str
    """As Slurm writes them."""
    restarts: int | None
    last_error: str | None
    last_error_s: float | None
    is_error_over: bool
    """The training has finished since, or saved a newer checkpoint some minutes after it."""
    sign_of_life_s: float | None
    run_folder: str


def rows_of(facts: RunFacts, answer: Answer, now_s: float) -> list[Row]:
    """The stages of a run that have been submitted, and its training."""
    rows: list[Row] = []
    states: dict[Stage, State] = {}
    for stage, job in stages_of(facts).items():
        slurm = None if job is None else slurm_state(facts, job, answer)
        is_known = job is not None and answer.is_sure
        chained = None if job is None else chain_state(facts, stage, job, slurm, states)
        if chained is not None:
            states[stage] = chained
        elif stage == "train" or job is None:
            states[stage] = train_state(facts, job, slurm, is_known, now_s)
        else:
            states[stage] = side_state(facts, stage, job, slurm, is_known, states)
        rows.append(_row(facts, stage, job, slurm, states[stage], now_s))
    return rows


def stages_of(facts: RunFacts) -> dict[Stage, JobRecord | None]:
    """Each stage with its last job; None is a training on this machine, or none yet."""
    jobs: dict[Stage, JobRecord | None] = dict(facts.last_jobs)
    last, train = facts.lifecycle.last, jobs.get("train")
    if train is None:
        is_here = last is not None or not jobs
    else:
        is_start = last is not None and last["kind"] == "start" and last.get("job_id") is None
        is_here = is_start and (facts.last_record_s or 0.0) > train.submitted_s
    if is_here:
        jobs["train"] = None
    return {stage: jobs[stage] for stage in STAGES if stage in jobs}


def slurm_state(facts: RunFacts, job: JobRecord, answer: Answer) -> JobState | None:
    """What Slurm says of a run's job; None for nothing, and for another job of that number."""
    found = answer.states.get(job.job_id)
    if found is None or found.run_folder is None:
        return found
    # A cluster that was set up anew counts from 1 again.
    is_ours = Path(found.run_folder).resolve() == facts.folder.path.resolve()
    return found if is_ours else None


def _row(
    facts: RunFacts,
    stage: Stage,
    job: JobRecord | None,
    slurm: JobState | None,
    state: State,
    now_s: float,
) -> Row:
    ours = {other.job_id for other in facts.jobs if other.stage == stage}
    faults = [fault for fault in facts.faults if fault.job_id in ours]
    fault = faults[-1] if faults else None
    is_train = stage == "train"
    shown: dict[str, Any] = dict(facts.progress.get("facts", {})) if is_train else {}
    return Row(
        run=facts.name,
        stage=stage,
        job_id=None if job is None else job.job_id,
        state=state.word,
        detail=state.detail,
        step=facts.step if is_train else None,
        total_steps=facts.total_steps if is_train else None,
        epoch=shown.get("epoch"),
        img_per_s=_number(shown.get("img/s")) if _is_current(facts, state) else None,
        top1=facts.evaluated_top1 if stage == "evaluate" else facts.top1 if is_train else None,
        eta_s=_eta_s(facts, now_s) if is_train and state.word == "running" else None,
        time_left_s=None if slurm is None else slurm.time_left_s,
        nodes=slurm.nodes if slurm is not None and slurm.is_active else "",
        restarts=None if slurm is None else slurm.restarts,
        last_error=None if fault is None else tell_fault(fault),
        last_error_s=None if fault is None else fault.at_s,
        is_error_over=fault is not None and _is_over(fault, facts, state, now_s),
        sign_of_life_s=facts.sign_of_life_s if is_train else None,
        run_folder=str(facts.folder.path),
    )


def _is_current(facts: RunFacts, state: State) -> bool:
    """Whether the speed in progress.json is that of the attempt at work, or of a finished one."""
    if facts.lifecycle.status == "RUNNING":
        is_newer = (facts.progress_s or 0.0) >= (facts.last_record_s or 0.0)
        return is_newer and state.word in ("running", "cancelling")
    return state.word == "finished"


def _is_over(fault: FaultRecord, facts: RunFacts, state: State, now_s: float) -> bool:
    is_old = now_s - fault.at_s > _FRESH_S
    return state.word == "finished" or (is_old and facts.saved_step > fault.saved_step)


def tell_fault(fault: FaultRecord) -> str:
    """A fault in a line."""
    if fault.node is None or fault.node in fault.message:
        return f"{fault.message} ({fault.action})"
    rank = "" if fault.rank is None else f"rank {fault.rank} on "
    return f"{rank}{fault.node}: {fault.message} ({fault.action})"


def _eta_s(facts: RunFacts, now_s: float) -> float | None:
    pace_s, at_s = facts.progress.get("seconds_per_step"), facts.progress.get("at_s")
    if pace_s is None or at_s is None or facts.step is None or facts.total_steps is None:
        return None  # written by an earlier version, or before the first step
    return max(0.0, (facts.total_steps - facts.step) * pace_s - (now_s - at_s))


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
