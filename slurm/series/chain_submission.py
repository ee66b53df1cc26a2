"""Handing the stages of a chain to Slurm, each after the one before it, or doing them here."""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import STOPPED_EXIT_CODE, PipelineError, UserError
from pipeline.log import info
from pipeline.tracking.run_folder import read_json
from slurm.job import Outcome
from slurm.records import Stage, evaluation_file
from slurm.series.chain import (
    Step,
    ask_queue,
    best_step,
    evaluate_lacks,
    plan_chain,
    prep_lacks,
    queued_stages,
    train_lacks,
)
from slurm.stages import StageJob
from slurm.submit import submission
from slurm.submit.batch_script import Request
from slurm.submit.dry_run import tidy
from slurm.submit.request import Prepared
from slurm.submit.snapshot import take_snapshot
from slurm.submit.training import launching, make_folder, note_submission, submit_training
from slurm.watch.run_lookup import typed

_LONGEST_MIN = {"prep": 4 * 60, "evaluate": 60}
"""Limits that most jobs of a stage do not reach; sharding that does is queued again."""


@dataclass(frozen=True)
class Source:
    """What shards are made of."""

    path: Path | None = None
    options: tuple[str, ...] = ()
    """Further words for data_prep/shard.py."""


@dataclass(frozen=True)
class Chain:
    """The stages of a run that a command asks for."""

    stages: tuple[Stage, ...]
    source: Source
    prepare: Callable[[], Prepared]
    """Checks the training against the shards, as far as they are there."""
    command: str
    """What a person types to go on."""


def launch_chain(chain: Chain, is_dry_run: bool, as_json: bool) -> int:
    """Submit, do, or only show what is missing; returns the exit code."""
    prepared = chain.prepare()
    steps = look(prepared, chain.stages, is_dry_run)
    _check_source(steps, chain.source)
    if steps[0].stage == "evaluate" and best_step(prepared.folder) is None:
        raise UserError(
            f"--chain evaluate: {prepared.folder.path} has no checkpoint; --chain train,evaluate "
            "makes one first"
        )
    request = prepared.request
    summary = {"cluster": request.cluster, "run_folder": str(prepared.folder.path)}
    if is_dry_run:
        return _show_dry_run(chain, prepared, steps, summary, as_json)
    if request.cluster == "local":
        return _run_here(chain, prepared, steps, summary, as_json)
    with launching([prepared.folder], ".chain.lock"):
        # Looked at again: the same command may run twice.
        steps = _submit(chain, prepared, look(prepared, chain.stages))
    _tell(f"chain of {request.name}, run folder {prepared.folder.path}", steps, summary, as_json)
    if not as_json:
        info(f"next: python slurm/jobs.py status {shlex.quote(typed(prepared.folder))}")
    return 0


def look(prepared: Prepared, stages: Sequence[Stage], is_dry_run: bool = False) -> list[Step]:
    """The chain of a run as it is now."""
    folder = prepared.folder
    no_shards = prep_lacks(prepared.loaded.config)
    # Without shards the number of steps is known only from the training itself.
    noted = read_json(folder.progress).get("total")
    lacks: dict[Stage, str | None] = {
        "prep": no_shards,
        "train": train_lacks(folder, prepared.plan.total_steps if no_shards is None else noted),
        "evaluate": evaluate_lacks(folder),
    }
    queue = ask_queue(prepared.request.cluster, [folder], is_dry_run)
    return plan_chain(stages, lacks, queued_stages(folder, queue))


def stage_request(request: Request, stage: Stage, source: Source, after: str | None) -> Request:
    """What a stage asks for. request: the training's."""
    request = replace(request, after=after or request.after)
    if stage == "train":
        return request
    is_prep = stage == "prep"
    seen = [] if source.path is None else [source.path]
    return replace(
        request,
        name=f"{request.name}-{stage}",
        nodes=1,
        min_nodes=None,
        tasks_per_node=1,
        gpus_per_node=0 if is_prep else min(request.gpus_per_node, 1),
        # As many as the training has on a node: sharding has a process on each.
        cpus_per_task=request.cpus_per_task * (request.tasks_per_node if is_prep else 1),
        time_min=min(_LONGEST_MIN[stage], request.time_min),
        mounts=(*request.mounts, *seen),
    )


def stage_job(prepared: Prepared, request: Request, stage: Stage, source: Source) -> StageJob:
    """What runs in the job of a stage beside the training. request: of this stage."""
    folder = prepared.folder
    if stage == "prep":
        out, workers = prepared.loaded.config.data.root, str(request.cpus_per_task)
        words = (str(source.path), out, "--workers", workers, *source.options)
        return StageJob(request.cluster, folder.path, "data_prep.shard", words)
    words = (str(folder.path), "--json")
    result = evaluation_file(folder)
    return StageJob(request.cluster, folder.path, "pipeline.evaluate", words, result)


def _check_source(steps: Sequence[Step], source: Source) -> None:
    prep = next((step for step in steps if step.stage == "prep"), None)
    if prep is None and source != Source():
        raise UserError("--source is for the prep stage; add it: --chain prep,...")
    if prep is None or prep.state != "missing":
        return
    if source.path is None:
        raise UserError(
            f"--chain prep: {prep.lacks}; say what the shards are made of: --source IMAGES "
            "(`python data_prep/shard.py` tells what that may be)"
        )
    if not source.path.exists():
        raise UserError(f"--source {source.path}: there is no such folder or file")


def _submit(chain: Chain, prepared: Prepared, steps: Sequence[Step]) -> list[Step]:
    """Submit what is missing; returns the steps with their jobs."""
    submitted: list[Step] = []
    after: str | None = None
    for step in steps:
        if step.state == "missing":
            try:
                job = _submit_stage(chain, prepared, step.stage, after)
            except PipelineError as error:
                raise type(error)(f"{step.stage}: {error}{_so_far(submitted)}") from error
            step = replace(step, job_id=job.job_id)
        submitted.append(step)
        after = step.job_id
    return submitted


def _submit_stage(chain: Chain, prepared: Prepared, stage: Stage, after: str | None = None) -> Any:
    if stage == "train":
        return submit_training(prepared, chain.command, after)
    request = stage_request(prepared.request, stage, chain.source, after)
    make_folder(prepared.folder)
    take_snapshot(request.code_folder)
    job = submission.submit(request, stage_job(prepared, request, stage, chain.source))
    if request.cluster == "slurm":
        note_submission(prepared.folder, request, job.job_id, stage, chain.command)
    return job


def _run_here(
    chain: Chain,
    prepared: Prepared,
    steps: Sequence[Step],
    summary: dict[str, Any],
    as_json: bool,
) -> int:
    """One stage after the other, up to the first that fails."""
    outcome = Outcome(0)
    done: list[dict[str, Any]] = []
    for step in steps:
        if step.state == "missing":
            info(f"{step.stage}: {step.lacks}")
            outcome = _follow(chain, prepared, step.stage)
        else:
            info(f"{step.stage}: done already")
        done.append({"stage": step.stage, "exit_code": outcome.exit_code})
        if outcome.exit_code:
            break
        if step.stage == "prep":
            # Against the shards that are there now.
            prepared = chain.prepare()
    if as_json:
        facts = {"exit_code": outcome.exit_code, "message": outcome.message, "stages": done}
        print(json.dumps(summary | facts))
    if outcome.exit_code == STOPPED_EXIT_CODE:
        info(outcome.message)
    elif outcome.exit_code:
        print(f"error: {done[-1]['stage']}: {outcome.message}", file=sys.stderr)
    return outcome.exit_code


def _follow(chain: Chain, prepared: Prepared, stage: Stage) -> Outcome:
    from slurm.follow import Follower

    job = _submit_stage(chain, prepared, stage)
    tasks = prepared.request.tasks_per_node if stage == "train" else 1
    return Follower(job, prepared.folder, tasks).wait()


def _show_dry_run(
    chain: Chain,
    prepared: Prepared,
    steps: Sequence[Step],
    summary: dict[str, Any],
    as_json: bool,
) -> int:
    _tell(f"chain of {prepared.request.name}", steps, summary, as_json)
    if as_json or prepared.request.cluster == "local":
        return 0
    before: Step | None = None
    for step in steps:
        if step.state == "missing":
            waits = None
            if before is not None and before.state != "done":
                waits = before.job_id or f"JOB_OF_{before.stage.upper()}"
            request = stage_request(prepared.request, step.stage, chain.source, waits)
            print(f"\n# sbatch of {step.stage}\n{tidy(submission.sbatch_text(request))}")
        before = step
    return 0


def _tell(title: str, steps: Sequence[Step], summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        stages = [
            {"stage": step.stage, "state": step.state, "job_id": step.job_id, "lacks": step.lacks}
            for step in steps
        ]
        print(json.dumps(summary | {"stages": stages}))
        return
    info(title)
    for before, step in zip([None, *steps], steps, strict=False):
        info(f"  {step.stage:<9} {_line(step, before)}")


def _line(step: Step, before: Step | None) -> str:
    if step.state == "done":
        return "done"
    if step.state == "queued":
        return f"job {step.job_id}, queued before"
    what = "to be submitted" if step.job_id is None else f"job {step.job_id}, submitted"
    if before is not None and before.state != "done":
        return f"{what}: starts when {before.stage} has ended well"
    return f"{what}: {step.lacks}"


def _so_far(submitted: Sequence[Step]) -> str:
    new = [f"{step.stage} (job {step.job_id})" for step in submitted if step.state == "missing"]
    if not new:
        return ""
    return f"\nsubmitted before it: {', '.join(new)}; the same command again submits the rest"
