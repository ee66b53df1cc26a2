"""Asking Slurm about jobs, and steering them: the one place that a person's commands do it from.

Slurm's controller serves a whole site: one question covers all jobs, and its answer is shared for
some seconds by all commands of a user.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

from pipeline.errors import PipelineError, UserError
from pipeline.log import info
from slurm.watch.answers import forget, recall

SQUEUE_KEPT_S = 10.0
"""How long an answer of squeue is shared."""
SACCT_KEPT_S = 60.0
"""The same of sacct, which is asked about jobs that have left the queue."""
_ANSWER_S = 10.0
"""How long one call may take."""
_LOOK_PATIENCE_S = 3.0
"""How long a silent controller is asked again for a table."""
_PATIENCE_S = 60.0
"""The same for a command that changes something."""
_PAUSE_S = 2.0
_SILENT = (
    "unable to contact",
    "timed out",
    "connection refused",
    "zero bytes",
    "connect failure",
)

_SQUEUE = "squeue"
ACTIVE = (
    *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING"),
    *("STAGE_OUT", "RESIZING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"),
)
"""States of a job that runs, or may run again; every other one is an end."""
_FIELDS = {
    "JobID": 12,
    "ArrayJobID": 12,
    "ArrayTaskID": 12,
    "State": 16,
    "RestartCnt": 8,
    "TimeLeft": 20,
    "StartTime": 24,
    "NodeList": 300,
    "Dependency": 200,
    "Reason": 120,
    "Comment": 1024,
}
_SQUEUE_FORMAT = ",".join(f"{name}:{size}|" for name, size in _FIELDS.items())
_SACCT_FORMAT = "JobID,JobIDRaw,State,NodeList,Start"


@dataclass(frozen=True)
class JobState:
    """A job as Slurm sees it."""

    job_id: str
    """``12``, or ``12_3`` for a task of an array."""
    raw_id: str
    """Slurm's own number, which tasks of arrays have as well."""
    state: str
    """Slurm's word: PENDING, RUNNING, COMPLETED, CANCELLED, TIMEOUT, NODE_FAIL, ..."""
    reason: str | None = None
    """Why it waits, or why it ended."""
    nodes: str = ""
    """As Slurm writes them: n[1-8]. Empty while it has none."""
    time_left_s: float | None = None
    """Of its time limit; None where it does not run or has no limit."""
    restarts: int | None = None
    """How often Slurm has started it again; None where only accounting knows the job."""
    started_s: float | None = None
    """Start of its last attempt, or when the next is expected; seconds since the epoch."""
    dependency: str | None = None
    """As Slurm writes it: afterok:12(unfulfilled)."""
    run_folder: str | None = None
    """What the job's comment says; None without one, and where only accounting knows it."""

    @property
    def is_active(self) -> bool:
        """Whether it runs, or may run."""
        return self.state in ACTIVE


@dataclass(frozen=True)
class Answer:
    """What Slurm knows of the jobs that were asked about."""

    states: dict[str, JobState]
    problem: str | None = None
    """Why Slurm could not be asked; then the absence of a job means nothing."""


class ControllerSilent(PipelineError):
    """Slurm is installed, and does not answer."""


def job_states(job_ids: Iterable[str]) -> dict[str, JobState]:
    """The jobs that Slurm knows, by id: those in its queue, else those in accounting."""
    return ask(job_ids).states


def ask(job_ids: Iterable[str], kept_s: float = SQUEUE_KEPT_S) -> Answer:
    """The same, and whether Slurm could be asked; ``kept_s``: how old an answer may be.

    One call of squeue for all jobs of the user, and one of sacct for those that it does not know.
    """
    wanted = set(job_ids)
    if not wanted:
        return Answer({})
    answer = queue(kept_s)
    known = answer.states
    missing = sorted(wanted - known.keys())
    if missing and answer.problem is None:
        # A site without accounting has no answer: the run folder has to do.
        known = (
            known
            | _recall(f"sacct {','.join(missing)}", partial(_sacct, missing), SACCT_KEPT_S).states
        )
    return Answer({job: known[job] for job in wanted if job in known}, answer.problem)


def queue(kept_s: float = SQUEUE_KEPT_S) -> Answer:
    """All jobs of the user in Slurm's queue, and those that have left it some minutes ago."""
    return _recall(_SQUEUE, _squeue, kept_s)


def cancel(job_ids: Sequence[str]) -> None:
    """``scancel``: their processes get SIGTERM, and SIGKILL after Slurm's KillWait.

    Raises UserError where Slurm refuses, ControllerSilent where it does not answer in a minute.
    """
    _steer(["scancel", *job_ids])


def signal(job_id: str, name: str) -> None:
    """Send a signal (``USR2``) to all ranks of a job; raises as ``cancel`` does."""
    _steer(["scancel", f"--signal={name}", job_id])


def forget_queue() -> None:
    """What was known of the jobs is no longer true: the next command asks Slurm again."""
    forget(_SQUEUE)


def _steer(command: Sequence[str]) -> None:
    _patiently(command, _PATIENCE_S)
    forget_queue()


def _recall(question: str, look: Callable[[], list[JobState]], kept_s: float) -> Answer:
    """An answer as it is kept: no answer is one too, or a silent controller would be pressed."""

    def answered() -> dict[str, Any]:
        try:
            return {"jobs": [asdict(state) for state in look()], "problem": None}
        except (UserError, ControllerSilent) as error:
            return {"jobs": [], "problem": str(error)}

    kept = recall(question, answered, kept_s)
    states = [JobState(**job) for job in kept["jobs"]]
    return Answer({state.job_id: state for state in states}, kept["problem"])


def _squeue() -> list[JobState]:
    # By user: the controller then packs one person's jobs, not the whole site's.
    command = [_SQUEUE, f"--user={os.getuid()}", "--states=all", "--array", "--noheader"]
    return parse_squeue(_patiently([*command, f"--Format={_SQUEUE_FORMAT}"], _LOOK_PATIENCE_S))


def _sacct(job_ids: Sequence[str]) -> list[JobState]:
    command = ["sacct", "--allocations", "--parsable2", "--noheader", f"--jobs={','.join(job_ids)}"]
    return parse_sacct(_run([*command, f"--format={_SACCT_FORMAT}"]))


def parse_squeue(text: str) -> list[JobState]:
    """The jobs in the output of ``squeue`` in this module's format."""
    states: list[JobState] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|", len(_FIELDS) - 1)]
        if len(cells) != len(_FIELDS):
            continue
        cell = dict(zip(_FIELDS, cells, strict=True))
        task = cell["ArrayTaskID"]
        is_running = cell["State"] == "RUNNING"
        states.append(
            JobState(
                # Tasks of an array that wait have the number of the array.
                job_id=cell["JobID"] if task == "N/A" else f"{cell['ArrayJobID']}_{task}",
                raw_id=cell["JobID"],
                state=cell["State"],
                reason=_text(cell["Reason"]),
                nodes=cell["NodeList"],
                time_left_s=parse_time_left(cell["TimeLeft"]) if is_running else None,
                restarts=int(cell["RestartCnt"]) if cell["RestartCnt"].isdigit() else None,
                started_s=_moment(cell["StartTime"]),
                dependency=_text(cell["Dependency"]),
                run_folder=_run_folder(cell["Comment"].removesuffix("|").strip(), task),
            )
        )
    return states


def parse_sacct(text: str) -> list[JobState]:
    """The jobs in the output of ``sacct --parsable2`` in this module's format."""
    states: list[JobState] = []
    for line in text.splitlines():
        cells = line.split("|")
        if len(cells) != _SACCT_FORMAT.count(",") + 1:
            continue
        job, raw, state, nodes, start = cells
        word, _, by = state.partition(" ")  # CANCELLED by 1000
        if word == "REQUEUED":
            continue  # what became of it afterwards, accounting does not know
        has_nodes = nodes not in ("None assigned", "")
        states.append(
            JobState(
                job_id=job,
                raw_id=raw,
                state=word,
                reason=by or None,
                nodes=nodes if has_nodes else "",
                started_s=_moment(start),
            )
        )
    return states


def parse_time_left(text: str) -> float | None:
    """Seconds of ``1-02:03:04``, ``2:03:04`` or ``3:04``; None for UNLIMITED and the like."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts) or (days and not days.isdigit()):
        return None
    seconds = 0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return float(seconds + int(days or 0) * 86400)


def _run_folder(comment: str, task: str) -> str | None:
    """An array's comment names a folder with a link to the run of each task, by its index."""
    place = _text(comment)
    return place if place is None or task == "N/A" else f"{place}/{task}"


def _text(cell: str) -> str | None:
    return None if cell in ("", "None", "(null)", "N/A") else cell


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()  # local time, as Slurm writes it
    except ValueError:
        return None  # N/A, Unknown


def _patiently(command: Sequence[str], patience_s: float) -> str:
    deadline_s, is_told = time.monotonic() + patience_s, False
    while True:
        try:
            return _run(command)
        except ControllerSilent as error:
            if time.monotonic() > deadline_s:
                raise
            if not is_told:
                info(f"{error}; trying again for {patience_s:.0f} s")
            is_told = True
            time.sleep(_PAUSE_S)


def _run(command: Sequence[str]) -> str:
    """Stdout. Raises UserError without the command or where Slurm refuses, ControllerSilent."""
    name = command[0]
    # A person may have chosen another form of dates.
    environment = os.environ | {"SLURM_TIME_FORMAT": "standard"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_ANSWER_S, env=environment
        )
    except FileNotFoundError:
        raise UserError(f"there is no {name} on this machine; use a login node") from None
    except subprocess.TimeoutExpired:
        raise ControllerSilent(f"{name} has no answer within {_ANSWER_S:.0f} s") from None
    if done.returncode == 0:
        return done.stdout
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    said = lines[-1].removeprefix(f"{name}: ").removeprefix("error: ").removeprefix("fatal: ")
    if any(words in done.stderr.lower() for words in _SILENT):
        raise ControllerSilent(f"{name}: {said}")
    raise UserError(f"{name}: {said}")
