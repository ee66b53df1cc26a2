"""The logs of a run: the last lines of a rank's, and what it writes from then on."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import UserError
from pipeline.log import info
from pipeline.tracking.run_folder import RunFolder
from slurm.records import Stage, read_jobs
from slurm.watch.log_names import LOG_END, job_of, log_of, ranks_with_logs
from slurm.watch.run_lookup import typed

_POLL_S = 0.5
_QUIET_S = 5.0
"""A log that has not grown for as long may have come to its end."""
_BLOCK_BYTES = 1 << 16


def last_job(folder: RunFolder, stage: Stage | None = None) -> str | None:
    """The job that a person means who names a run: the last that has a log, else the last one.

    A job on this machine has its process's number for an id. stage: of this one alone.
    """
    submitted = read_jobs(folder)
    known = {job.job_id for job in submitted}
    jobs = [job for job in submitted if stage in (None, job.stage)]
    is_local = stage in (None, "train")
    logs = {path: path.stat().st_mtime for path in folder.logs.glob(f"*_0{LOG_END}") if is_local}
    begun = [job for job in jobs if log_of(folder, job.job_id, 0).is_file()]
    local = {path: at_s for path, at_s in logs.items() if job_of(path) not in known}
    newest_local = max(local, key=lambda path: local[path], default=None)
    chosen = (begun or [job for job in jobs if job.stage == "train"] or jobs)[-1:]
    if newest_local is not None and (not chosen or local[newest_local] > chosen[0].submitted_s):
        return job_of(newest_local)
    return chosen[0].job_id if chosen else None


def tell_job(folder: RunFolder, job_id: str) -> None:
    """Say whose log is shown, where a run has had several jobs."""
    jobs = {job.job_id: job for job in read_jobs(folder)}
    if job_id not in jobs or len(jobs) == 1:
        return
    stage = jobs[job_id].stage
    text = f"job {job_id} ({stage})"
    last = {job.stage: job.job_id for job in jobs.values()}
    if others := [f"{name} ({job})" for name, job in last.items() if name != stage]:
        text += f"; with --stage: {', '.join(others)}"
    if before := [
        job.job_id for job in jobs.values() if job.stage == stage and job_id != job.job_id
    ]:
        text += f"; other jobs of {stage}: {', '.join(before)}"
    info(text)


def log_files(folder: RunFolder, job_id: str) -> list[dict[str, Any]]:
    """The logs of a job's ranks, as JSON values."""
    found: list[dict[str, Any]] = []
    for rank in ranks_with_logs(folder, job_id):
        path = log_of(folder, job_id, rank)
        facts = {"run": folder.path.absolute().name, "job_id": job_id, "rank": rank}
        found.append(facts | {"log": str(path), "bytes": path.stat().st_size})
    return found


def show_log(folder: RunFolder, job_id: str, rank: int, lines: int) -> int:
    """Print the last lines of a log to stdout; returns the byte where they end.

    Raises UserError where there is no such log.
    """
    path = log_of(folder, job_id, rank)
    if not path.is_file():
        raise UserError(no_log(folder, job_id, rank))
    with path.open("rb") as file:
        text = last_lines(file, lines)
        position = file.tell()
    _write(text)
    if position == 0:
        info(f"rank {rank} has written nothing yet; its file is {path}")
    out = path.with_name(path.name.replace(LOG_END, "_log.out"))
    if out.is_file() and b"\nTraceback " in b"\n" + out.read_bytes():
        info(f"(a traceback is in its standard output: {out})")
    return position


def last_lines(file: BinaryIO, lines: int) -> bytes:
    """The last lines of an open binary file, which is left at its end."""
    begin, text = file.seek(0, os.SEEK_END), b""
    while begin > 0 and text.count(b"\n") <= lines:
        end, begin = begin, max(0, begin - _BLOCK_BYTES)
        file.seek(begin)
        text = file.read(end - begin) + text
    file.seek(0, os.SEEK_END)
    return b"".join(text.splitlines(keepends=True)[-lines:]) if lines else b""


def follow_log(
    folder: RunFolder,
    job_id: str,
    rank: int,
    lines: int,
    is_over: Callable[[], str | None],
    stage: Stage | None = None,
) -> None:
    """Print the last lines and then what is written, also by the jobs that follow this one.

    stage: only by jobs of this one.

    ``is_over`` is asked while nothing is written; what it returns is said, and ends this.
    """
    position, quiet_since_s, is_told = -1, time.monotonic(), False
    while True:
        path = log_of(folder, job_id, rank)
        if position < 0 and path.is_file():
            position = show_log(folder, job_id, rank, lines)
        elif position < 0 and not is_told:
            info(f"job {job_id} has not written {path.name} yet; waiting for it")
            is_told = True
        grown = _pass_on(path, position) if position >= 0 else 0
        position += grown
        if grown:
            quiet_since_s = time.monotonic()
        elif time.monotonic() - quiet_since_s > _QUIET_S:
            successor = last_job(folder, stage)
            if successor is not None and successor != job_id:
                info(f"job {job_id} is followed by job {successor}")
                job_id, position, is_told, lines = successor, -1, False, sys.maxsize
            elif (end := is_over()) is not None:
                info(end)
                return
            quiet_since_s = time.monotonic()
        time.sleep(_POLL_S)


def no_log(folder: RunFolder, job_id: str, rank: int) -> str:
    """Why there is no such log, and which there are."""
    ranks = ranks_with_logs(folder, job_id)
    run = folder.path.name
    if ranks:
        return f"run {run}: job {job_id} has no log of rank {rank}; there are {_spans(ranks)}"
    return (
        f"run {run}: job {job_id} has not written a log yet; -f waits for it, and `python "
        f"slurm/jobs.py status {typed(folder)}` says what it waits for"
    )


def _spans(numbers: Sequence[int]) -> str:
    """``0-3, 7``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(f"{s[0]}-{s[-1]}" if len(s) > 1 else str(s[0]) for s in spans)


def _pass_on(path: Path, position: int) -> int:
    """Print what lies behind a byte of a log; returns how much that was."""
    with path.open("rb") as file:
        file.seek(position)
        text = file.read()
    _write(text)
    return len(text)


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
