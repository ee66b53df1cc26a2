"""Handing the runs of a sweep to Slurm, as job arrays where they are of equal shape; or to here."""

import json
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import STOPPED_EXIT_CODE, PipelineError, UserError
from pipeline.log import each_once, info, warn
from slurm.series.chain import ask_queue, queued_stages, train_lacks
from slurm.series.sweep import Variant, common_name, departures, each, some
from slurm.submit import submission
from slurm.submit.batch_script import Array, Request
from slurm.submit.dry_run import tidy
from slurm.submit.request import Prepared
from slurm.submit.snapshot import snapshot_folder, take_snapshot
from slurm.submit.training import launching, note_submission, submit_training, training_job
from slurm.watch import controller
from slurm.watch.run_lookup import USUAL_ROOT


@dataclass(frozen=True)
class Sweep:
    """The runs that a command asks for."""

    variants: Sequence[Variant]
    prepare: Callable[[Variant], Prepared]
    """Checks one of them; one that is queued already is no mistake."""
    command: Callable[[Variant], str]
    """What a person types to launch it alone."""
    parallel: int | None = None
    """The most runs of one array that may run at a time."""


@dataclass(frozen=True)
class Run:
    """One of them, and what becomes of it."""

    variant: Variant
    prepared: Prepared
    settings: dict[str, str]
    """Those that tell it from most of the others."""
    state: Literal["new", "submitted", "queued", "running", "finished", "failed", "stopped"] = "new"
    job_id: str | None = None
    exit_code: int = 0

    @property
    def name(self) -> str:
        return self.prepared.request.name


def launch_sweep(sweep: Sweep, is_dry_run: bool, as_json: bool) -> int:
    """Submit, do, or only show what is not finished and not queued; returns the exit code.

    Nothing is submitted where one of the runs cannot be.
    """
    names = [variant.config.name for variant in sweep.variants]
    with each_once():
        prepared = each(sweep.variants, sweep.prepare, names)
    settings = departures([variant.config for variant in sweep.variants])
    runs = [Run(*three) for three in zip(sweep.variants, prepared, settings, strict=True)]
    runs = _known(runs, is_dry_run)
    if is_dry_run:
        _tell(runs, as_json)
        return 0 if as_json else _show_scripts(sweep, runs)
    is_local = prepared[0].request.cluster == "local"
    runs = _run_here(sweep, runs) if is_local else _submit(sweep, runs)
    _tell(runs, as_json)
    if not is_local and not as_json:
        _tell_next(runs)
    return next((run.exit_code for run in runs if run.exit_code), 0)


def shapes(runs: Iterable[Run]) -> list[list[Run]]:
    """The runs that are to be submitted, those that ask for the same together."""
    groups: dict[Request, list[Run]] = {}
    for run in runs:
        if run.state == "new":
            groups.setdefault(_shape(run.prepared.request), []).append(run)
    return list(groups.values())


def array_request(runs: Sequence[Run], name: str, links: Path, parallel: int | None) -> Request:
    """What an array of runs of equal shape asks for."""
    requests = [run.prepared.request for run in runs]
    mounts = [path for request in requests for path in request.mounts]
    return replace(
        requests[0],
        name=name,
        log_folder=links / "%a" / "logs",
        code_folder=snapshot_folder(links / "code"),
        run_folder=None,
        mounts=tuple(dict.fromkeys([links, *mounts])),
        array=Array(links, len(runs), min(parallel or len(runs), len(runs))),
    )


def _shape(request: Request) -> Request:
    none = Path()
    return replace(request, name="", log_folder=none, code_folder=none, run_folder=None, mounts=())


def _known(runs: Sequence[Run], is_dry_run: bool = False) -> list[Run]:
    """The runs with what they are already: finished, or in the queue."""
    folders = [run.prepared.folder for run in runs]
    queue = ask_queue(runs[0].prepared.request.cluster, folders, is_dry_run)
    known: list[Run] = []
    for run in runs:
        folder, total_steps = run.prepared.folder, run.prepared.plan.total_steps
        job = queued_stages(folder, queue).get("train")
        if job is not None:
            is_running = queue.states[job].state == "RUNNING"
            run = replace(run, state="running" if is_running else "queued", job_id=job)
        elif train_lacks(folder, total_steps) is None:
            run = replace(run, state="finished")
        known.append(run)
    return known


def _submit(sweep: Sweep, runs: Sequence[Run]) -> list[Run]:
    jobs: dict[str, str] = {}
    try:
        for group in shapes(runs):
            jobs |= _submit_group(sweep, group)
    except PipelineError as error:
        if jobs:
            controller.cancel(sorted(jobs.values()))
            warn(f"cancelled {', '.join(jobs.values())} again, since others could not be submitted")
        raise error
    return [
        replace(run, state="submitted", job_id=jobs[run.name]) if run.name in jobs else run
        for run in runs
    ]


def _submit_group(sweep: Sweep, group: Sequence[Run]) -> dict[str, str]:
    try:
        return _submit_alone(sweep, *group) if len(group) == 1 else _submit_array(sweep, group)
    except PipelineError as error:
        raise type(error)(f"{some([run.name for run in group])}: {error}") from error


def _submit_alone(sweep: Sweep, run: Run) -> dict[str, str]:
    return {run.name: submit_training(run.prepared, sweep.command(run.variant)).job_id}


def _submit_array(sweep: Sweep, runs: Sequence[Run]) -> dict[str, str]:
    """Returns the job id of each run's task, by name."""
    request = array_request(runs, *_array_place(runs), sweep.parallel)
    folders = [run.prepared.folder for run in runs]
    links = request.array.links if request.array else Path()
    commands = [sweep.command(run.variant) for run in runs]
    trainings = [
        training_job(run.prepared, command) for run, command in zip(runs, commands, strict=True)
    ]
    with launching(folders):
        # Asked again: another launch may have come between.
        taken = [run.name for run in _known(runs) if run.state in ("queued", "running")]
        if taken:
            raise UserError(f"{', '.join(taken)}: queued by another launch just now")
        links.mkdir(parents=True)
        for index, folder in enumerate(folders):
            folder.logs.mkdir(parents=True, exist_ok=True)
            (links / str(index)).symlink_to(folder.path.absolute())
        take_snapshot(request.code_folder)
        try:
            jobs = submission.submit_runs(request, trainings)
        except PipelineError:
            shutil.rmtree(links)
            raise
        for folder, job, command in zip(folders, jobs, commands, strict=True):
            note_submission(folder, request, job, "train", command)
    return {run.name: job for run, job in zip(runs, jobs, strict=True)}


def _array_place(runs: Sequence[Run]) -> tuple[str, Path]:
    """Name of an array, and the folder for what its tasks share."""
    name = common_name([run.variant for run in runs])
    root = Path(runs[0].variant.config.runs_root)
    return name, root / ".arrays" / f"{name}-{secrets.token_hex(4)}"


def _run_here(sweep: Sweep, runs: Sequence[Run]) -> list[Run]:
    """One after the other; one that fails does not keep the next from its turn."""
    from slurm.follow import Follower

    done: list[Run] = []
    for number, run in enumerate(runs, start=1):
        if run.state != "new" or (done and done[-1].state == "stopped"):
            done.append(run)
            continue
        info(f"run {number} of {len(runs)}: {run.name}")
        job = submit_training(run.prepared, sweep.command(run.variant))
        tasks = run.prepared.request.tasks_per_node
        outcome = Follower(job, run.prepared.folder, tasks).wait()
        if outcome.exit_code == STOPPED_EXIT_CODE:
            info(outcome.message)
        elif outcome.exit_code:
            print(f"error: {run.name}: {outcome.message}", file=sys.stderr)
        state = {0: "finished", STOPPED_EXIT_CODE: "stopped"}.get(outcome.exit_code, "failed")
        done.append(replace(run, state=state, exit_code=outcome.exit_code))
    return done


def _show_scripts(sweep: Sweep, runs: Sequence[Run]) -> int:
    for group in shapes(runs):
        request = group[0].prepared.request
        if len(group) > 1:
            name = common_name([run.variant for run in group])
            links = Path(group[0].variant.config.runs_root) / ".arrays" / f"{name}-ID"
            request = array_request(group, name, links, sweep.parallel)
        if request.cluster == "slurm":
            print(f"\n# sbatch of {', '.join(run.name for run in group)}")
            print(tidy(submission.sbatch_text(request)))
    return 0


def _tell(runs: Sequence[Run], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"experiment": _experiment(runs), "runs": list(map(_facts, runs))}))
        return
    told = [run.state if run.job_id is None else f"{run.state} {run.job_id}" for run in runs]
    names = [run.name for run in runs]
    first, second = max(map(len, ("run", *names))), max(map(len, ("state", *told)))
    info(f"{len(runs)} runs in the experiment {_experiment(runs)}")
    info(f"  {'run':<{first}}  {'state':<{second}}  settings that differ")
    for run, name, state in zip(runs, names, told, strict=True):
        settings = " ".join(f"{key}={value}" for key, value in run.settings.items())
        info(f"  {name:<{first}}  {state:<{second}}  {settings}".rstrip())


def _tell_next(runs: Sequence[Run]) -> None:
    root = runs[0].prepared.folder.path.parent
    elsewhere = "" if root == Path(USUAL_ROOT) else f" --runs-root {shlex.quote(str(root))}"
    info("next:")
    if any(run.job_id for run in runs):
        info(f"  python slurm/jobs.py status --watch {_typed(runs)}{elsewhere}")
    info(f"  python slurm/jobs.py list{elsewhere}")


def _typed(runs: Sequence[Run]) -> str:
    """What a person types for all of them: an array's number where that is enough."""
    arrays = {(run.job_id or "").partition("_")[::2] for run in runs}
    numbers = {number for number, _ in arrays}
    if len(numbers) == 1 and all(task for _, task in arrays):
        return numbers.pop()
    return " ".join(run.name for run in runs)


def _experiment(runs: Sequence[Run]) -> str:
    return runs[0].variant.config.tracking.experiment


def _facts(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "state": run.state,
        "job_id": run.job_id,
        "run_folder": str(run.prepared.folder.path),
        "exit_code": run.exit_code,
        "settings": run.settings,
    }
