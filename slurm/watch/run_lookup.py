"""From what a person types, a run's name, its folder or a job id, to run folders."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.tracking.run_folder import RunFolder, list_runs, resolve_run
from slurm.records import read_jobs
from slurm.watch.controller import queue
from slurm.watch.log_names import log_of, raw_ids

USUAL_ROOT = "runs"
_JOB_ID = re.compile(r"\d+(_\d+)?")
_LISTED = 10


@dataclass(frozen=True)
class Target:
    """A run, or one of its jobs."""

    folder: RunFolder
    job_id: str | None = None
    """None: whatever job the run has."""


def typed(folder: RunFolder) -> str:
    """What a person types for a run: its name where it lies in the usual place, else its folder."""
    path = folder.path.absolute()
    return path.name if path.parent == Path(USUAL_ROOT).absolute() else str(folder.path)


def find(word: str, runs_root: str) -> Target:
    """The run of this name, folder or job id. Raises UserError that names what there is."""
    is_run = any(RunFolder(path).exists for path in (Path(runs_root) / word, Path(word)))
    if is_run or not _JOB_ID.fullmatch(word):
        return Target(RunFolder(resolve_run(word, runs_root)))
    for folder in map(RunFolder, list_runs(runs_root)):
        jobs = [job.job_id for job in read_jobs(folder)]
        if word in jobs or log_of(folder, word, 0).is_file():
            return Target(folder, word)
    if members := _runs_of_array(word, runs_root):
        if len(members) == 1:
            return members[0]
        names = [f"{member.job_id} ({member.folder.path.name})" for member in members]
        raise UserError(f"job {word} is an array; name one of its tasks: {', '.join(names)}")
    for folder in map(RunFolder, list_runs(runs_root)):
        for job in read_jobs(folder):
            if word in raw_ids(folder, job.job_id):
                return Target(folder, job.job_id)
    # A run elsewhere says in its job's comment where it is.
    state = queue().states.get(word)
    if state is not None and state.run_folder and RunFolder(Path(state.run_folder)).exists:
        return Target(RunFolder(Path(state.run_folder).resolve()), word)
    raise UserError(_unknown_job(word, runs_root))


def find_all(words: Sequence[str], runs_root: str) -> list[Target]:
    """Each of them once; the number of a job array stands for all its runs."""
    found: dict[Target, None] = {}
    for word in words:
        array = _runs_of_array(word, runs_root) if word.isdigit() else []
        for target in array or [find(word, runs_root)]:
            found[target] = None
    return list(found)


def _runs_of_array(number: str, runs_root: str) -> list[Target]:
    return [
        Target(folder, job.job_id)
        for folder in map(RunFolder, list_runs(runs_root))
        for job in read_jobs(folder)
        # The number of an array means its tasks, which are runs of their own.
        if job.job_id.startswith(f"{number}_")
    ]


def _unknown_job(job_id: str, runs_root: str) -> str:
    known = [
        f"{job.job_id} ({path.name})"
        for path in list_runs(runs_root)
        for job in read_jobs(RunFolder(path))[-1:]
    ]
    if not known:
        return f"job {job_id}: no run under {runs_root} has a job; --runs-root names another folder"
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return (
        f"job {job_id}: no run under {runs_root} has had this job; their last ones are "
        f"{', '.join(known[-_LISTED:])}{more}; --runs-root names another folder"
    )
