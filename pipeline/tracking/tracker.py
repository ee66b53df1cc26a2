"""What training sees of tracking: a journal on the main rank, nothing on the others."""

import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pipeline
from pipeline.config import Config, dotted
from pipeline.config.load import show
from pipeline.log import info, warn
from pipeline.tracking.journal import Journal, now_ms
from pipeline.tracking.lifecycle import EndStatus, Process
from pipeline.tracking.origin import git_state
from pipeline.tracking.redact import redact
from pipeline.tracking.run_folder import RunFolder, read_run_info, update_run_info
from pipeline.tracking.sampler import Sampler
from pipeline.tracking.store_uri import JOURNAL_ONLY, URI_VARIABLE, StoreUri, store_of_launch
from pipeline.world import World

DRAIN_WAIT_S = 10.0
"""How long the end of a training waits for its upload, in seconds."""


class Tracker(Protocol):
    """What a run tells about itself. Nothing here waits for a network."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Values at an optimizer step; the first write of a key at a step counts."""
        ...

    def tags(self, tags: Mapping[str, str]) -> None:
        """Texts about the run; the last write of a key counts."""
        ...

    def dataset(self, name: str, split: str, digest: str, samples: int) -> None:
        """What is read: its name, split, digest (hex) and number of samples."""
        ...

    def end(self, status: EndStatus, summary: Mapping[str, float | str] | None = None) -> None:
        """This process is done; waits DRAIN_WAIT_S at most. Later calls do nothing."""
        ...

    @property
    def link(self) -> str | None:
        """Where a person sees the run: an address, or the command to type."""
        ...


class SilentTracker:
    """The tracker of every rank but the main one."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def tags(self, tags: Mapping[str, str]) -> None:
        """Nothing."""

    def dataset(self, name: str, split: str, digest: str, samples: int) -> None:
        """Nothing."""

    def end(self, status: EndStatus, summary: Mapping[str, float | str] | None = None) -> None:
        """Nothing."""

    @property
    def link(self) -> str | None:
        return None


class JournalTracker:
    """Writes the journal, samples the machine, and keeps the uploader's process."""

    def __init__(self, folder: RunFolder, journal: Journal, store: StoreUri | None):
        self._folder, self._journal, self._store = folder, journal, store
        self._step = journal.last_step
        self._ended = False
        self._sampler: Sampler | None = None
        self._uploader = None if store is None else _start_uploader(folder, store)

    def sample_system(self, node: str, every_s: float) -> None:
        """Journal the machine's load from now on, every ``every_s`` seconds."""
        self._sampler = Sampler(node, every_s, lambda v: self._journal.system(v, self._step))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._journal.metrics(metrics, step)
        self._step = max(step, self._step)

    def tags(self, tags: Mapping[str, str]) -> None:
        if tags:
            self._journal.tags({key: redact(str(value)) for key, value in tags.items()})

    def dataset(self, name: str, split: str, digest: str, samples: int) -> None:
        self._journal.dataset(name, split, digest, samples)

    def end(self, status: EndStatus, summary: Mapping[str, float | str] | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        if self._sampler is not None:
            self._sampler.stop()
        self._journal.end(status, summary or {})
        self._journal.close()
        if self._uploader is not None:
            self._drain(self._uploader)

    @property
    def link(self) -> str | None:
        if self._store is None:
            return sync_command(self._folder)
        if not self._store.is_http:
            return "python -m pipeline.tracking open"
        known = read_run_info(self._folder.path)
        experiment, run = known.get("mlflow_experiment_id"), known.get("mlflow_run_id")
        if experiment is None or run is None:
            return self._store.shown
        return f"{self._store.shown}/#/experiments/{experiment}/runs/{run}"

    def _drain(self, uploader: "subprocess.Popen[bytes]") -> None:
        try:
            code = uploader.wait(DRAIN_WAIT_S)
        except subprocess.TimeoutExpired:
            code = None
        if code == 0:
            return
        state = "is still uploading in the background" if code is None else "could not upload all"
        warn(
            f"MLflow: {state} (log: {self._folder.tracking_log}); the journal has everything, "
            f"and this uploads what is missing: {sync_command(self._folder)}"
        )


def open_tracker(
    run_folder: Path, config: Config, world: World, facts: Mapping[str, str]
) -> Tracker:
    """The tracker of this rank. On the main rank it opens the journal and starts the uploader.

    ``facts`` are further tags, such as versions. Raises UserError on every rank for an unusable
    MLflow address, and on the main rank where another process trains in this folder.
    """
    store = store_of_launch(config.tracking.uri, world.job_id, os.environ, Path.cwd())
    if not world.is_main:
        return SilentTracker()
    folder = RunFolder(run_folder)
    folder.logs.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder.journal)
    if journal.unreadable:
        warn(f"{folder.journal}: skipped {journal.unreadable} damaged lines")
    code = git_state(Path(pipeline.__file__).parent)
    _describe(folder, config, store, code)
    process = Process.of(os.getpid())
    assert process is not None
    journal.start({"attempt": world.attempt, "process": process.as_json(), "job_id": world.job_id})
    journal.settings({key: redact(show(value)) for key, value in dotted(config).items()})
    place = {
        "world_size": str(world.size),
        "nodes": str(world.nodes),
        "host": world.node_name,
        "attempt": str(world.attempt),
        "launches": str(journal.launches + 1),
    }
    place |= {"job_id": world.job_id} if world.job_id is not None else {}
    tracker = JournalTracker(folder, journal, store)
    tracker.tags(code | place | dict(facts))
    tracker.sample_system(world.node_name, config.tracking.system_every_s)
    if store is None:
        reason = (
            f"tracking.uri={JOURNAL_ONLY}"
            if world.job_id is None
            else "a Slurm job without a server"
        )
        info(f"MLflow: journal only ({reason}); to upload it: {sync_command(folder)}")
    return tracker


def sync_command(folder: RunFolder) -> str:
    """What a person types to upload what is missing."""
    return f"python -m pipeline.tracking sync {shlex.quote(str(folder.path))}"


def _describe(
    folder: RunFolder, config: Config, store: StoreUri | None, code: Mapping[str, str]
) -> None:
    """Write run.json; what names the run in MLflow is settled by the first start."""
    known = read_run_info(folder.path)
    facts: dict[str, object] = {
        "run_key": known.get("run_key") or uuid.uuid4().hex,
        "name": known.get("name") or config.name,
        "experiment": known.get("experiment") or config.tracking.experiment,
        "created_ms": known.get("created_ms") or now_ms(),
        "git_commit": code.get("git_commit"),
        "git_dirty": code.get("git_dirty") == "true",
    }
    if store is not None:
        facts["tracking_uri"] = store.shown
    update_run_info(folder.path, **facts)


def _start_uploader(folder: RunFolder, store: StoreUri) -> "subprocess.Popen[bytes]":
    """Its own session keeps Ctrl-C away from it; the address may hold a password: no argument."""
    command = [sys.executable, "-m", "pipeline.tracking", "follow", str(folder.path.absolute())]
    code = str(Path(pipeline.__file__).absolute().parent.parent)
    paths = [code, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        URI_VARIABLE: store.uri,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }
    with folder.tracking_log.open("ab") as log:
        return subprocess.Popen(
            [*command, "--parent", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
