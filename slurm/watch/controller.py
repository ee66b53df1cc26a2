"""Asking Slurm about jobs, and steering them: the one place that a person's commands do it from.

Slurm's controller serves a whole site: one question covers all jobs, and its answer is shared for
some seconds by all commands of a user.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from pipeline.errors import PipelineError, UserError
from pipeline.log import info
from slurm.watch.answers import forget, recall
from slurm.watch.job_state import (
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    JobState,
    parse_sacct,
    parse_squeue,
)
from slurm.watch.lost_controller import is_silent, not_found, silent

SQUEUE_KEPT_S = 10.0
"""How long an answer of squeue is shared."""
SACCT_KEPT_S = 60.0
"""The same of sacct, which is asked about jobs that have left the queue."""
_ANSWER_S = 10.0
"""How long one call may take."""
LOOK_PATIENCE_S = 3.0
"""How long a controller may be silent to which a person only wants to look."""
_SHORTEST_S = 0.5
"""What a call gets at least: the last one of the patience."""
_PATIENCE_S = 60.0
"""The same for a command that changes something."""
_PAUSE_S = 2.0
_NO_ACCOUNTING = "accounting storage is disabled"
_SQUEUE = "squeue"


@dataclass(frozen=True)
class Answer:
    """What Slurm knows of the jobs that were asked about."""

    states: dict[str, JobState]
    problem: str | None = None
    """Why Slurm could not be asked; then the absence of a job means nothing."""
    is_complete: bool = True
    """Whether its accounting has answered too, where there is one: what has left the queue."""

    @property
    def is_sure(self) -> bool:
        """Whether Slurm does not know the jobs that are missing here."""
        return self.problem is None and self.is_complete


class ControllerSilent(PipelineError):
    """Slurm is installed, and does not answer."""


def job_states(job_ids: Iterable[str]) -> dict[str, JobState]:
    """The jobs that Slurm knows, by id: those in its queue, else those in accounting."""
    return ask(job_ids).states


def ask(
    job_ids: Iterable[str],
    kept_s: float = SQUEUE_KEPT_S,
    patience_s: float = LOOK_PATIENCE_S,
) -> Answer:
    """The same, and whether Slurm could be asked; ``kept_s``: how old an answer may be.

    One call of squeue for all jobs of the user, and one of sacct for those that it does not know.
    """
    wanted = set(job_ids)
    if not wanted:
        return Answer({})
    answer = queue(kept_s, patience_s)
    known, is_complete = answer.states, True
    missing = sorted(wanted - known.keys())
    if missing and answer.problem is None:
        ended = _recall(f"sacct {','.join(missing)}", partial(_sacct, missing), SACCT_KEPT_S)
        # A site without accounting has no more to say: the run folder has to do.
        is_complete = ended.problem is None or _NO_ACCOUNTING in ended.problem
        known = known | ended.states
    found = {job: known[job] for job in wanted if job in known}
    return Answer(found, answer.problem, is_complete)


def queue(kept_s: float = SQUEUE_KEPT_S, patience_s: float = LOOK_PATIENCE_S) -> Answer:
    """All jobs of the user in Slurm's queue, and those that have left it some minutes ago."""
    return _recall(_SQUEUE, partial(_squeue, patience_s), kept_s)


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


def _squeue(patience_s: float) -> list[JobState]:
    # By user: the controller then packs one person's jobs, not the whole site's.
    command = [_SQUEUE, f"--user={os.getuid()}", "--states=all", "--array", "--noheader"]
    return parse_squeue(_patiently([*command, f"--Format={SQUEUE_FORMAT}"], patience_s))


def _sacct(job_ids: Sequence[str]) -> list[JobState]:
    command = ["sacct", "--allocations", "--parsable2", "--noheader", f"--jobs={','.join(job_ids)}"]
    return parse_sacct(_run([*command, f"--format={SACCT_FORMAT}"]))


def _patiently(command: Sequence[str], patience_s: float) -> str:
    deadline_s, is_told = time.monotonic() + patience_s, False
    while True:
        left_s = deadline_s - time.monotonic()
        try:
            return _run(command, min(_ANSWER_S, max(left_s, _SHORTEST_S)))
        except ControllerSilent as error:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise
            if not is_told:
                info(f"{error}; trying again for {left_s:.0f} s")
            is_told = True
            time.sleep(min(_PAUSE_S, left_s))


def _run(command: Sequence[str], answer_s: float = _ANSWER_S) -> str:
    """Stdout. Raises UserError without the command or where Slurm refuses, ControllerSilent."""
    name = command[0]
    # A person may have chosen another form of dates.
    environment = os.environ | {"SLURM_TIME_FORMAT": "standard"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=answer_s, env=environment
        )
    except FileNotFoundError:
        raise UserError(f"there is no {name} on this machine; use a login node") from None
    except subprocess.TimeoutExpired:
        if lost := not_found():
            raise UserError(lost) from None
        raise ControllerSilent(f"{name} has no answer within {answer_s:.0f} s") from None
    if done.returncode == 0:
        return done.stdout
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    said = lines[-1].removeprefix(f"{name}: ").removeprefix("error: ").removeprefix("fatal: ")
    if lost := not_found(done.stderr):
        raise UserError(lost)
    if is_silent(done.stderr):
        raise ControllerSilent(silent(said) or f"{name}: {said}")
    raise UserError(f"{name}: {said}")
