"""A job as Slurm sees it: what squeue and sacct are asked for, and what they print; pure."""

from dataclasses import dataclass
from datetime import datetime

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
SQUEUE_FORMAT = ",".join(f"{name}:{size}|" for name, size in _FIELDS.items())
SACCT_FORMAT = "JobID,JobIDRaw,State,NodeList,Start"


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
        if len(cells) != SACCT_FORMAT.count(",") + 1:
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
