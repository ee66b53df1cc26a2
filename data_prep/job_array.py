"""Sharding on several nodes: a Slurm job array, each task its own shards, and a job that finishes.

Beside OUT, ``OUT.jobs/`` holds the listing that all tasks share, their code and their logs.
"""

import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_prep.durable import new_file
from data_prep.job import Job, Outcome, write_shards
from data_prep.reporting.report import write_report
from data_prep.sharding import Request, Watcher, listed, out_folder, prepare
from data_prep.summary import as_text
from data_prep.terminal import Terminal
from data_prep.wording import plural, printable
from data_prep.writing.out_folder import claim, opened, release
from pipeline.errors import DataError, PipelineError, UserError
from pipeline.log import info
from pipeline.world import cpus_at_hand
from slurm.submit.snapshot import snapshot_folder, take_snapshot
from slurm.submit.submission import ArrayRequest, Restartable, submit_array

_JOB = "job.pickle"


@dataclass(frozen=True)
class Submitted:
    """What was handed to Slurm."""

    out: Path
    array: str
    """Job id."""
    last: str
    """Id of the job that finishes."""
    shards: int
    logs: Path


def submit_sharding(
    request: Request,
    watcher: Watcher,
    nodes: int,
    cpus_per_task: int | None,
    time_min: int,
    with_report: bool = False,
) -> Submitted | Outcome:
    """Check and list everything here, hand the writing to Slurm; an Outcome if none is needed.

    Raises UserError where there is no Slurm or it refuses, and what shard_source raises.
    """
    if shutil.which("sbatch") is None:
        raise UserError(
            f"--nodes {nodes} needs Slurm, and there is no sbatch here; start this on a node that "
            "submits jobs, or use --workers"
        )
    source = listed(request, watcher)
    out = out_folder(request, source)
    with opened(out):
        job = prepare(request, source, out, watcher)
        if not job.todo:
            return job.finish()
        folder = job_folder(out)
        folder.mkdir(exist_ok=True)
        with new_file(folder / _JOB) as file:
            pickle.dump(job, file)
        code = snapshot_folder(folder / "code")
        take_snapshot(code)
        tasks = min(nodes, len(job.todo))
        parts = [WritePart(out.absolute(), i, tasks, request.workers) for i in range(tasks)]
        where = ArrayRequest(
            f"shard-{job.plans[0].dataset}", cpus_per_task, time_min, folder / "logs", code
        )
        array, last = submit_array(where, parts, Finish(out.absolute(), with_report))
        claim(out, [array, last])
        return Submitted(out, array, last, len(job.todo), folder / "logs")


def job_folder(out: Path) -> Path:
    """Where the files of the jobs lie."""
    return out.with_name(f"{out.name}.jobs")


@dataclass(frozen=True)
class WritePart(Restartable):
    """Writes every ``count``-th of the shards, from number ``index`` on."""

    out: Path
    index: int
    count: int
    workers: int | None
    """Processes; None: the CPUs of the job."""

    def __call__(self) -> None:
        _answer(self._write)

    def _write(self) -> None:
        job, terminal = _load(self.out), Terminal()
        mine = [shard for shard in job.todo[self.index :: self.count] if not shard.is_done]
        begin = partial(terminal.begin, sum(shard.images for shard in mine), 0)
        workers = self.workers or cpus_at_hand()
        write_shards(mine, workers, job.check, begin, terminal.advance)
        terminal.close()
        info(f"wrote {plural(len(mine), 'shard')}")


@dataclass(frozen=True)
class Finish(Restartable):
    """Describes the shards when all are written; the manifest is last."""

    out: Path
    with_report: bool = False

    def __call__(self) -> None:
        _answer(self._finish)

    def _finish(self) -> None:
        with opened(self.out, as_job=True):
            try:
                job = _load(self.out)
                if missing := [shard for shard in job.todo if not shard.is_done]:
                    raise DataError(
                        f"{plural(len(missing), 'shard')} were not written: the logs in "
                        f"{printable(job_folder(self.out) / 'logs')} say why; the same command "
                        "continues"
                    )
                outcome = job.finish()
                info(as_text(outcome, None))
                if self.with_report:
                    info(f"report: {write_report(outcome.out, outcome.manifest)}")
            finally:
                release(self.out)


def _load(out: Path) -> Job:
    with (job_folder(out) / _JOB).open("rb") as file:
        return pickle.load(file)


def _answer(function: Callable[[], None]) -> None:
    """Let the job fail with the error's exit code and one message."""
    try:
        function()
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
