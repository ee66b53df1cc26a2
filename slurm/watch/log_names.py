"""Which file holds what a rank of a job says."""

import re
from pathlib import Path

from pipeline.tracking.run_folder import RunFolder

LOG_END = "_log.err"
_RAW_ID = re.compile(r"^attempt \d+ of job (\d+) on ", re.MULTILINE)
_BEGINNING_BYTES = 4096


def log_of(folder: RunFolder, job_id: str, rank: int) -> Path:
    """Where a rank's messages go; those of the batch script go to rank 0's."""
    return folder.logs / f"{job_id}_{rank}{LOG_END}"


def raw_ids(folder: RunFolder, job_id: str) -> list[str]:
    """Slurm's own number of a task of an array, which its log begins with; none before that."""
    try:
        with log_of(folder, job_id, 0).open("rb") as file:
            return _RAW_ID.findall(file.read(_BEGINNING_BYTES).decode(errors="replace"))
    except OSError:
        return []


def ranks_with_logs(folder: RunFolder, job_id: str) -> list[int]:
    """The ranks of a job that have written anything, in order."""
    texts = [
        path.name.removeprefix(f"{job_id}_").removesuffix(LOG_END)
        for path in folder.logs.glob(f"{job_id}_*{LOG_END}")
    ]
    # Tasks of an array are called 12_3, and their logs 12_3_0.
    return sorted(int(text) for text in texts if text.isdigit())


def job_of(log: Path) -> str:
    """The job whose rank has this log."""
    return log.name.removesuffix(LOG_END).rpartition("_")[0]
