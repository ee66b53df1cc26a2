"""The start of a launch's tracker: what the run is, and where and on what it is trained."""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pipeline
from pipeline.config import Config, dotted
from pipeline.config.load import show
from pipeline.log import info, warn
from pipeline.redact import redact
from pipeline.tracking.environment import environment_text
from pipeline.tracking.journal import Journal, now_ms
from pipeline.tracking.launches import Launch, launch_tags, read_launches
from pipeline.tracking.lifecycle import Process
from pipeline.tracking.origin import LOCK, Origin, origin_of
from pipeline.tracking.run_folder import RunFolder, read_run_info, update_run_info
from pipeline.tracking.store_uri import JOURNAL_ONLY, StoreUri, store_of_launch
from pipeline.tracking.tracker import JournalTracker, SilentTracker, Tracker, sync_command
from pipeline.world import World

_OF_ONE_RUN = (
    *("run_key", "name", "experiment", "created_ms"),
    *("mlflow_run_id", "mlflow_experiment_id"),
)
"""What run.json says that a copy of the folder does not share."""


def open_tracker(
    run_folder: Path,
    config: Config,
    world: World,
    facts: Mapping[str, str],
    nodes: Sequence[str] = (),
) -> Tracker:
    """The tracker of this rank. On the main rank it opens the journal and starts the uploader.

    facts: further tags, such as versions. nodes: those of all ranks, where there are others
    than this one's. Raises UserError on every rank for an unusable MLflow address, and on the
    main rank where another process trains in this folder.
    """
    store = store_of_launch(config.tracking.uri, world.job_id, os.environ, Path.cwd())
    if not world.is_main:
        return SilentTracker()
    folder = RunFolder(run_folder)
    folder.logs.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder.journal)
    if journal.unreadable:
        warn(f"{folder.journal}: skipped {journal.unreadable} damaged lines")
    code = Path(pipeline.__file__).absolute().parents[1]
    origin = origin_of(code)
    _describe(folder, config, store, origin)
    present = _start(journal, config, world, list(nodes) or [world.node_name])
    launches = [*journal.past, present]
    journal.settings({key: redact(show(value)) for key, value in dotted(config).items()})
    tracker = JournalTracker(folder, journal, store, launches, config.data.val_split)
    tracker.tags(
        origin.tags() | _place(world) | launch_tags(launches) | {"seed": str(config.seed), **facts}
    )
    _write_artifacts(tracker, code, origin, len(launches))
    tracker.sample_system(world.node_name, config.tracking.system_every_s)
    if store is None:
        reason = (
            f"tracking.uri={JOURNAL_ONLY}"
            if world.job_id is None
            else "a Slurm job without a server"
        )
        info(f"MLflow: journal only ({reason}); to upload it: {sync_command(folder)}")
    return tracker


def _start(journal: Journal, config: Config, world: World, nodes: list[str]) -> Launch:
    """Write that this process begins; returns the launch so far."""
    process = Process.of(os.getpid())
    assert process is not None
    facts = {
        "attempt": world.attempt,
        "process": process.as_json(),
        "job_id": world.job_id,
        "world_size": world.size,
        "nodes": nodes,
        "device": config.device,
    }
    [launch] = read_launches([journal.start(facts)])
    return launch


def _place(world: World) -> dict[str, str]:
    """Where this launch runs, as tags."""
    place = {
        "world_size": str(world.size),
        "nodes": str(world.nodes),
        "host": world.node_name,
        "attempt": str(world.attempt),
    }
    return place | ({} if world.job_id is None else {"job_id": world.job_id})


def _write_artifacts(tracker: Tracker, code: Path, origin: Origin, launch: int) -> None:
    """What this launch, counted from 1, runs, and on what."""
    tracker.artifact("environment.txt", lambda: environment_text().encode())
    if origin.diff:
        # One a launch: a later one may run other changes, or none.
        tracker.artifact(f"code/launch-{launch}.diff", origin.diff.encode)
    lock = code / LOCK
    if lock.is_file():
        tracker.artifact(LOCK, lock.read_bytes)


def _name_of(folder: RunFolder) -> str:
    # By whatever link it is reached.
    return folder.path.resolve().name


def _known(folder: RunFolder) -> dict[str, Any]:
    """run.json; of a copied or renamed folder without what ties it to the run that it was."""
    known = read_run_info(folder.path)
    before, name = known.get("folder"), _name_of(folder)
    if before is None or before == name:
        return known
    info(
        f"run {name}: its folder was {before} when it was last started; copied or renamed, it is a "
        "run of its own in MLflow from now on, with all of its past"
    )
    # An end in between leaves the old name, and so comes here again.
    folder.cursor.unlink(missing_ok=True)
    return update_run_info(folder.path, **dict.fromkeys(_OF_ONE_RUN))


def _describe(folder: RunFolder, config: Config, store: StoreUri | None, origin: Origin) -> None:
    """Write run.json; what names the run in MLflow is settled by the first start."""
    known = _known(folder)
    facts: dict[str, object] = {
        "run_key": known.get("run_key") or uuid.uuid4().hex,
        "name": known.get("name") or config.name,
        "folder": _name_of(folder),
        "experiment": known.get("experiment") or config.tracking.experiment,
        "created_ms": known.get("created_ms") or now_ms(),
        "git_commit": origin.git_commit,
        "git_dirty": origin.is_dirty is True,
    }
    if store is not None:
        facts["tracking_uri"] = store.shown
    update_run_info(folder.path, **facts)
