"""Handing a prepared training to Slurm or to this machine, once."""

import contextlib
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import PipelineError, UserError
from pipeline.log import warn
from pipeline.tracking.locks import exclusive
from pipeline.tracking.run_folder import RunFolder
from slurm.job import TrainJob
from slurm.records import JobRecord, Stage, note_job, read_jobs
from slurm.submit import submission
from slurm.submit.batch_script import Request
from slurm.submit.request import Prepared
from slurm.submit.snapshot import take_snapshot
from slurm.watch import controller
from slurm.watch.run_lookup import typed


def submit_training(prepared: Prepared, command: str, after: str | None = None) -> Any:
    """Take the snapshot, submit, and note the job in the run's folder; returns submitit's job.

    after: as in ``Where``, for a job that was not known when this one was prepared. Raises
    UserError where another job trains in this folder, or Slurm refuses this one.
    """
    folder = prepared.folder
    request = replace(prepared.request, after=after or prepared.request.after)
    function = training_job(prepared, command)
    if request.cluster == "local":
        make_folder(folder)
        take_snapshot(request.code_folder)
        return submission.submit(request, function)
    with launching([folder]):
        # Asked again: another launch may have come between.
        check_free(folder, request.after)
        take_snapshot(request.code_folder)
        job = submission.submit(request, function)
        note_submission(folder, request, job.job_id, "train", command)
    return job


def training_job(prepared: Prepared, command: str) -> TrainJob:
    """What runs in each task. command: what a person types to go on with the training."""
    facts = {"launch_command": command}
    return TrainJob(prepared.loaded.config, prepared.request.cluster, command, facts)


def note_submission(
    folder: RunFolder, request: Request, job_id: str, stage: Stage, command: str
) -> None:
    """Append a job to the run folder's list."""
    record = JobRecord(
        job_id=job_id,
        stage=stage,
        submitted_s=time.time(),
        nodes=request.nodes_text,
        tasks_per_node=request.tasks_per_node,
        command=command,
    )
    note_job(folder, record)
    controller.forget_queue()


def check_free(folder: RunFolder, after: str | None = None) -> None:
    """Raise UserError where a training of this run is queued already.

    after: jobs that this one waits for; these may train before it.
    """
    before = [record.job_id for record in read_jobs(folder) if record.stage == "train"]
    awaited = (after or "").split(":")
    jobs = submission.queued([job for job in before if job not in awaited])
    if jobs is None:
        warn(f"squeue does not say whether job {before[-1]} is still at work in {folder.path}")
    elif jobs:
        run = shlex.quote(typed(folder))
        raise UserError(
            f"{folder.path}: job {jobs[0]} trains there, or waits to; see `python slurm/jobs.py "
            f"status {run}`, cancel it with `python slurm/jobs.py cancel {run}`, or use another "
            "--name"
        )


@contextlib.contextmanager
def launching(folders: Sequence[RunFolder], lock_name: str = ".launch.lock") -> Iterator[None]:
    """Make the runs' folders and hold a lock on each; a refusal leaves no new folder behind."""
    new = [folder for folder in folders if not folder.path.exists()]
    for folder in folders:
        make_folder(folder)
    with contextlib.ExitStack() as locks:
        for folder in folders:
            locks.enter_context(exclusive(folder.path / lock_name))
        try:
            yield
        except PipelineError:
            for folder in new:
                if not folder.exists:  # no job was noted there
                    shutil.rmtree(folder.path)
            raise


def make_folder(folder: RunFolder) -> None:
    """Raises UserError where the file system does not let it."""
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"runs_root={folder.path.parent}: cannot be created ({error.strerror}); set "
            "runs_root=FOLDER"
        ) from error
