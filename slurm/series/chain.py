"""Shards, training and evaluation of one run as stages that follow each other: what is missing.

A stage is done where its product is there, so that the same command again does only the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.config import Config
from pipeline.errors import DataError, PreflightError, UserError
from pipeline.log import warn
from pipeline.plan import open_splits
from pipeline.tracking.journal import read_journal
from pipeline.tracking.lifecycle import Lifecycle
from pipeline.tracking.run_folder import RunFolder, read_json
from slurm.records import STAGES, Stage, evaluation_file, read_jobs
from slurm.watch import controller
from slurm.watch.controller import Answer, JobState

_SPLITS = {"train", "validation"}
"""What sharding makes."""


@dataclass(frozen=True)
class Step:
    """A stage of a chain, and what is to be done about it."""

    stage: Stage
    state: Literal["done", "queued", "missing"]
    job_id: str | None = None
    """Its job in the queue; after submission the new one."""
    lacks: str | None = None
    """What is missing, in words."""


def parse_chain(text: str) -> tuple[Stage, ...]:
    """``prep,train,evaluate`` or some of them, in this order. Raises ValueError."""
    named = [word.strip() for word in text.split(",")]
    stages: tuple[Stage, ...] = tuple(stage for stage in STAGES if stage in named)
    if list(stages) != named:
        raise ValueError(f"{text!r} is not {','.join(STAGES)}, or some of these in this order")
    return stages


def plan_chain(
    stages: Sequence[Stage], lacks: Mapping[Stage, str | None], queued: Mapping[Stage, str]
) -> list[Step]:
    """What to do about each stage. lacks: None where its product is there; queued: job ids.

    Raises UserError where a job in the queue waits for a stage that has failed.
    """
    steps: list[Step] = []
    for stage in stages:
        before = steps[-1] if steps else None
        if stage in queued:
            if before is not None and before.state == "missing":
                raise UserError(_waits_in_vain(stage, queued[stage], before))
            steps.append(Step(stage, "queued", queued[stage]))
        elif stage == "evaluate" and before is not None and before.state != "done":
            # A training that goes on may come to another best checkpoint.
            steps.append(Step(stage, "missing", lacks=f"{before.stage} comes first"))
        elif lacks[stage] is not None:
            steps.append(Step(stage, "missing", lacks=lacks[stage]))
        else:
            steps.append(Step(stage, "done"))
    return steps


def prep_lacks(config: Config) -> str | None:
    """Why the shards cannot be trained on; None where they can.

    Raises UserError where sharding would not help.
    """
    data = config.data
    try:
        open_splits(config)
    except (UserError, DataError) as error:
        reason = str(error)
        if "model.num_classes" in reason:
            raise
        if {data.train_split, data.val_split} != _SPLITS:
            raise UserError(
                f"data.train_split={data.train_split}, data.val_split={data.val_split}: the prep "
                "stage makes the splits train and validation; name these, or shard by hand with "
                "data_prep/shard.py"
            ) from error
        return reason.splitlines()[0].partition(";")[0].rstrip(":")
    return None


def train_lacks(folder: RunFolder, total_steps: int | None) -> str | None:
    """Why the training is not complete; None where it is. total_steps: None is unknown."""
    if not folder.journal.is_file():
        return "not started"
    lifecycle = Lifecycle()
    lifecycle.see(read_journal(folder.journal).records)
    saved = folder.saved_step
    if total_steps is None or saved < total_steps:
        of = "" if total_steps is None else f" of {total_steps:,}"
        return f"{saved:,}{of} steps are saved"
    return None if lifecycle.status == "FINISHED" else f"it is {lifecycle.status}"


def evaluate_lacks(folder: RunFolder) -> str | None:
    """Why there is no evaluation of the best checkpoint; None where there is one."""
    best = best_step(folder)
    if best is None:
        return "no checkpoint yet"
    step = read_json(evaluation_file(folder)).get("step")
    if step is None:
        return "not evaluated"
    return None if step == best else f"step {step} is evaluated, the best is {best}"


def best_step(folder: RunFolder) -> int | None:
    """The step of the checkpoint with the highest top-1, as pipeline.checkpoint chooses it.

    By names, marks and progress alone: a login node has no torch, and no time to hash weights.
    """
    scores: dict[int, float | None] = {}
    for mark in folder.checkpoints.glob("step-*/COMMITTED"):
        step = mark.parent.name.removeprefix("step-")
        if step.isdigit():
            scores[int(step)] = read_json(mark.with_name("progress.json")).get("top1")
    scored = {step: top1 for step, top1 in scores.items() if top1 is not None}
    if not scored:
        return max(scores, default=None)
    return max(scored, key=lambda step: (scored[step], -step))


def ask_queue(cluster: str, folders: Sequence[RunFolder], is_dry_run: bool) -> Answer:
    """What is in Slurm's queue now; nothing for what runs here, or for runs without a job.

    Raises PreflightError where Slurm does not answer: a job might be submitted twice.
    """
    if cluster == "local" or not any(map(read_jobs, folders)):
        return Answer({})
    answer = controller.queue(kept_s=0.0)
    if answer.problem is None:
        return answer
    unknown = f"{answer.problem}: nobody knows what is queued already"
    if is_dry_run:
        warn(unknown)
        return answer
    raise PreflightError(f"{unknown}; try again, and see `scontrol ping` and SLURM_CONF")


def queued_stages(folder: RunFolder, queue: Answer) -> dict[Stage, str]:
    """The jobs of a run that wait or run."""
    newest: dict[Stage, str] = {record.stage: record.job_id for record in read_jobs(folder)}
    queued: dict[Stage, str] = {}
    for stage, job_id in newest.items():
        job = queue.states.get(job_id)
        if job is not None and job.is_active and _is_of(job, folder):
            queued[stage] = job_id
    return queued


def _is_of(job: JobState, folder: RunFolder) -> bool:
    """A cluster that was set up anew counts from 1 again."""
    return job.run_folder is None or Path(job.run_folder).resolve() == folder.path.resolve()


def _waits_in_vain(stage: Stage, job: str, before: Step) -> str:
    return (
        f"job {job} ({stage}) is in the queue, but {before.stage}, which comes before it, is "
        f"neither done nor queued ({before.lacks}); Slurm removes a job that waits for a failed "
        f"one within a minute: type this again then, or now after `scancel {job}`"
    )
