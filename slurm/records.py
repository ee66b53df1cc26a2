"""What a run folder remembers of its Slurm jobs: submissions, and what went wrong in them.

Both are JSON lines that are only appended to, so that a run can be told from its folder alone.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline.log import warn
from pipeline.redact import redact
from pipeline.tracking.run_folder import RunFolder

Stage = Literal["prep", "train", "evaluate"]
"""What a job does for its run."""
STAGES: tuple[Stage, ...] = get_args(Stage)
"""In the order in which they follow each other."""
FaultKind = Literal["error", "killed", "stuck", "node", "preflight"]
"""error: a rank raised. killed: it died by a signal. stuck: it kept the others waiting. node: it
was lost with its node. preflight: its node lacks what the job needs."""
Action = Literal["requeued", "ended"]


@dataclass(frozen=True)
class JobRecord:
    """One submission."""

    job_id: str
    """``12``, or ``12_3`` for a task of an array."""
    stage: Stage
    submitted_s: float
    """Seconds since the epoch."""
    nodes: str
    """As sbatch was told: ``8``, or ``7-8``."""
    tasks_per_node: int
    command: str
    """What a person types to submit it again."""
    follows: str | None = None
    """The job that this one goes on with, where Slurm did not let that be queued again."""


@dataclass(frozen=True)
class FaultRecord:
    """One end of an attempt that nobody asked for."""

    at_s: float
    """Seconds since the epoch."""
    job_id: str
    attempt: int
    """How often Slurm had restarted the job before."""
    kind: FaultKind
    message: str
    step: int
    """Optimizer steps done when it happened, as far as the run folder knows."""
    saved_step: int
    """Those of the newest checkpoint: what lies between is computed again."""
    action: Action
    node: str | None = None
    rank: int | None = None


def evaluation_file(folder: RunFolder) -> Path:
    """What the evaluate stage writes: the --json of ``python -m pipeline.evaluate``."""
    return folder.path / "evaluation.json"


def note_job(folder: RunFolder, job: JobRecord) -> None:
    """Append a submission."""
    _append(folder.path / "jobs.jsonl", asdict(job) | {"command": redact(job.command)})


def read_jobs(folder: RunFolder) -> list[JobRecord]:
    """All submissions, oldest first."""
    return [JobRecord(**record) for record in _read(folder.path / "jobs.jsonl")]


def faults_of(folder: RunFolder, job_id: str) -> list[FaultRecord]:
    """The faults of a job and of those that it goes on with, oldest first."""
    followed = {job.job_id: job.follows for job in read_jobs(folder)}
    lineage = {job_id}
    while (before := followed.get(job_id)) is not None:
        lineage.add(before)
        job_id = before
    return [fault for fault in read_faults(folder) if fault.job_id in lineage]


def note_fault(folder: RunFolder, fault: FaultRecord) -> None:
    """Append a fault; a disk that does not take it costs a warning."""
    try:
        _append(folder.path / "faults.jsonl", asdict(fault) | {"message": redact(fault.message)})
    except OSError as error:
        # A full disk, which may be the very fault, is no reason to give the job up.
        warn(f"the fault is not noted in {folder.path}: {error.strerror}")


def read_faults(folder: RunFolder) -> list[FaultRecord]:
    """All faults, oldest first."""
    return [FaultRecord(**record) for record in _read(folder.path / "faults.jsonl")]


def _append(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        # A line that a killed process has left half-written must not swallow this one.
        if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            file.write(b"\n")
        file.write(json.dumps(record).encode() + b"\n")


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; none where it is missing."""
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue  # empty, or torn by a crash
        yield record
