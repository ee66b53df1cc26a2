"""Cancelling runs and submitting them again."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, UserError
from pipeline.log import info
from pipeline.tracking.run_folder import update_run_info
from slurm.records import JobRecord
from slurm.watch import controller
from slurm.watch.controller import Answer
from slurm.watch.job_state import JobState
from slurm.watch.run_facts import RunFacts, last_record, read_facts
from slurm.watch.run_lookup import Target, typed
from slurm.watch.run_rows import Row, rows_of, slurm_state
from slurm.watch.run_state import AT_WORK
from slurm.watch.settling import end_journal
from slurm.watch.status import unsettled_jobs

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 15.0
"""How long a controller may be silent before anything is decided by its answer."""


@dataclass(frozen=True)
class Standing:
    """A run, and those of its jobs that wait or run."""

    facts: RunFacts
    row: Row
    """Of its training, or of the stage that comes before it."""
    active: list[tuple[JobRecord, JobState]]


def standings(targets: Sequence[Target]) -> list[Standing]:
    """Ask Slurm anew about the jobs of runs, or about one job of them.

    Raises PipelineError where they have any and it does not answer.
    """
    runs = [read_facts(target.folder.path) for target in targets]
    jobs = [
        [job for job in facts.jobs if target.job_id in (None, job.job_id)]
        for facts, target in zip(runs, targets, strict=True)
    ]
    wanted = [job.job_id for some in jobs for job in some]
    answer = controller.ask(wanted, kept_s=0.0, patience_s=_PATIENCE_S)
    if answer.problem is not None:
        names = ", ".join(facts.name for facts in runs)
        raise PipelineError(f"nobody knows of the jobs of {names}: {answer.problem}")
    return [_standing(facts, some, answer) for facts, some in zip(runs, jobs, strict=True)]


def _standing(facts: RunFacts, jobs: Sequence[JobRecord], answer: Answer) -> Standing:
    rows = {row.stage: row for row in rows_of(facts, answer, time.time())}
    found = [(job, slurm_state(facts, job, answer)) for job in jobs]
    active = [(job, state) for job, state in found if state is not None and state.is_active]
    return Standing(facts, rows.get("train") or next(iter(rows.values())), active)


def cancel_runs(targets: Sequence[Target], as_json: bool) -> None:
    """Cancel the jobs of runs, for good: a training ends as KILLED and is not queued again.

    Those that are over are named. Raises UserError where all are, PipelineError where Slurm does
    not answer.
    """
    found = standings(targets)
    over = [_nothing_to_cancel(*pair) for pair in zip(found, targets, strict=True)]
    all_of_them = [now for now in found if now.active]
    if not all_of_them:
        raise UserError("\n".join(over))
    for now, words in zip(found, over, strict=True):
        if not now.active:
            info(words)
    for now in all_of_them:
        # First: its ranks ask, when the signal comes, whether they are queued again.
        _note_cancelled(now)
    controller.cancel([job.job_id for now in all_of_them for job, _ in now.active])
    for now in all_of_them:
        _tell_cancelled(now)
    if as_json:
        done = [
            {
                "run": now.facts.name,
                "cancelled": [job.job_id for job, _ in now.active],
                "saved_step": now.facts.folder.saved_step,
            }
            for now in all_of_them
        ]
        print(json.dumps(done, indent=2))


def _note_cancelled(now: Standing) -> None:
    """In the run folder: Slurm soon forgets a job that never began."""
    folder = now.facts.folder
    moments = {job.job_id: time.time() for job, _ in now.active}
    fields: dict[str, Any] = {"cancelled_jobs": {**now.facts.cancelled, **moments}}
    trainings = [job.job_id for job, _ in now.active if job.stage == "train"]
    if trainings:
        fields["cancelled_job"] = trainings[-1]
    update_run_info(folder.path, **fields)


def resume(target: Target, as_json: bool) -> int:
    """Submit a run again with its own command; returns that command's exit code.

    Raises UserError where the run is at work, or its command is not known.
    """
    facts = read_facts(target.folder.path)
    if not unsettled_jobs([facts], time.time()) and facts.lifecycle.status == "FINISHED":
        return _nothing_to_resume(facts, as_json)
    [now] = standings([Target(target.folder)])
    for job, state in now.active:
        if job.stage == "train":
            where = f"runs on {state.nodes}" if state.nodes else f"is {state.state.lower()}"
            raise UserError(
                f"run {facts.name}: its job {job.job_id} {where}; wait for it, or `python "
                f"slurm/jobs.py cancel {typed(facts.folder)}` first"
            )
    if now.row.job_id is None and now.row.state in AT_WORK:
        raise UserError(f"run {facts.name} is at work already{_where(facts)}")
    if now.row.state == "finished":
        return _nothing_to_resume(facts, as_json)
    command = command_of(facts)
    info(command)
    words = [sys.executable, str(_ROOT / "slurm/launch.py"), *shlex.split(command)[2:]]
    words += ["--json"] if as_json and "--json" not in words else []
    return subprocess.run(words, cwd=_ROOT).returncode


def _nothing_to_resume(facts: RunFacts, as_json: bool) -> int:
    info(f"run {facts.name} is finished ({facts.step} steps): nothing to do")
    if as_json:
        print(json.dumps({"run": facts.name, "state": "finished"}))
    return 0


def command_of(facts: RunFacts) -> str:
    """What a person types to submit the run again. Raises UserError where nobody noted it."""
    jobs = facts.last_jobs
    job = jobs.get("train") or next(iter(jobs.values()), None)
    command = None if job is None else job.command
    if command is None and facts.folder.journal.is_file():
        with facts.folder.journal.open("rb") as file:
            tags = last_record(file, (b'"launch_command":',))
        command = None if tags is None else tags["tags"]["launch_command"]
    if command is None or shlex.split(command)[1:2] != ["slurm/launch.py"]:
        raise UserError(
            f"run {facts.name}: it was not started by slurm/launch.py, so its command is not "
            f"known; type what started it again: it goes on by itself"
        )
    return command


def _tell_cancelled(now: Standing) -> None:
    name, saved = now.facts.name, now.facts.folder.saved_step
    newest = f"the newest checkpoint is of step {saved:,}" if saved else "it has no checkpoint yet"
    for job, state in now.active:
        what = "" if job.stage == "train" else f" ({job.stage})"
        info(f"run {name}{what}: cancelled job {job.job_id}, {_was(state)}")
        if job.stage == "train" and state.nodes:
            info(
                "  it saves after the step it is in, if that fits into the cluster's KillWait "
                f"(often 30 s); else {newest}"
            )
        elif job.stage == "train":
            info(f"  {newest}")
            _end_what_waited(now.facts)
    info(f"  to go on: python slurm/jobs.py resume {typed(now.facts.folder)}")


def _was(state: JobState) -> str:
    return f"which ran on {state.nodes}" if state.nodes else "which waited"


def _end_what_waited(facts: RunFacts) -> None:
    """A training that waited to go on has no process that could write its end."""
    last = facts.lifecycle.last
    if last is not None and (last["kind"] == "start" or last.get("status") == "REQUEUED"):
        end_journal(facts.folder, "KILLED")


def _nothing_to_cancel(now: Standing, target: Target) -> str:
    name = now.facts.name
    if now.row.job_id is None and now.row.state in AT_WORK:
        return (
            f"run {name} has no Slurm job, but is at work{_where(now.facts)}; Ctrl-C in its "
            "terminal stops it, after a checkpoint"
        )
    if target.job_id is not None:
        return f"job {target.job_id} of run {name} is over already; the run is {now.row.state}"
    return f"run {name}: nothing of it is queued or running; the run is {now.row.state}"


def _where(facts: RunFacts) -> str:
    process = facts.lifecycle.process
    return "" if process is None else f": process {process.pid} on {process.host}"
