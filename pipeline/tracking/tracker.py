"""What training sees of tracking: a journal on the main rank, nothing on the others."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pipeline
from pipeline.log import warn
from pipeline.redact import redact
from pipeline.tracking.artifacts import Artifacts
from pipeline.tracking.journal import Journal
from pipeline.tracking.launches import Launch, gpu_hours, world_sizes
from pipeline.tracking.lifecycle import EndStatus
from pipeline.tracking.run_folder import RunFolder, read_run_info
from pipeline.tracking.sampler import Sampler
from pipeline.tracking.store_uri import URI_VARIABLE, StoreUri, runs_page
from pipeline.tracking.upload.scheduling import step_forward

DRAIN_WAIT_S = 10.0
"""How long the end of a training waits for its upload, in seconds."""


class Tracker(Protocol):
    """What a run tells about itself. Nothing here waits for a network."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Values at an optimizer step, if any; the first write of a key at a step counts.

        What the run has cost so far is added to them: progress/gpu_hours.
        """
        ...

    def resumed(self, step: int) -> None:
        """Training goes on after this step; 0 at the start of a run."""
        ...

    def tags(self, tags: Mapping[str, str]) -> None:
        """Texts about the run; the last write of a key counts."""
        ...

    def dataset(self, name: str, split: str, digest: str, samples: int) -> None:
        """What is read: its name, split, digest (hex) and number of samples."""
        ...

    def model(self, step: int, folder: Path) -> None:
        """The best checkpoint, which is committed; told again, it is the same one."""
        ...

    def artifact(self, name: str, content: Callable[[], bytes]) -> None:
        """A file that tells of the run; only where it is written, ``content`` is called.

        Where it cannot be made or the file system refuses it, a warning says so.
        """
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

    def resumed(self, step: int) -> None:
        """Nothing."""

    def tags(self, tags: Mapping[str, str]) -> None:
        """Nothing."""

    def dataset(self, name: str, split: str, digest: str, samples: int) -> None:
        """Nothing."""

    def model(self, step: int, folder: Path) -> None:
        """Nothing."""

    def artifact(self, name: str, content: Callable[[], bytes]) -> None:
        """Nothing."""

    def end(self, status: EndStatus, summary: Mapping[str, float | str] | None = None) -> None:
        """Nothing."""

    @property
    def link(self) -> str | None:
        return None


class JournalTracker:
    """Writes the journal, samples the machine, and keeps the uploader's process."""

    def __init__(
        self,
        folder: RunFolder,
        journal: Journal,
        store: StoreUri | None,
        launches: Sequence[Launch],
        evaluated_split: str,
    ):
        """launches: of the run, the present one last. evaluated_split: what models are of."""
        self._folder, self._journal, self._store = folder, journal, store
        self._artifacts = Artifacts(folder.artifacts)
        *self._past, self._present = launches
        self._began_s = time.monotonic()
        self._evaluated_split = self._evaluated_on = evaluated_split
        self._step = journal.last_step
        self._ended = False
        self._sampler: Sampler | None = None
        self._uploader = None if store is None else _start_uploader(folder, store)

    def sample_system(self, node: str, every_s: float) -> None:
        """Journal the machine's load from now on, every ``every_s`` seconds."""
        self._sampler = Sampler(node, every_s, lambda v: self._journal.system(v, self._step))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if metrics:
            hours = (time.monotonic() - self._began_s) * self._present.world_size / 3600
            cost = {"progress/gpu_hours": gpu_hours(self._past) + hours}
            self._journal.metrics({**metrics, **cost}, step)
            self._step = max(step, self._step)

    def resumed(self, step: int) -> None:
        self._present = replace(self._present, step=step)
        self._journal.resumed(step)
        self.tags({"world_sizes": world_sizes([*self._past, self._present])})

    def tags(self, tags: Mapping[str, str]) -> None:
        if tags:
            self._journal.tags({key: redact(str(value)) for key, value in tags.items()})

    def dataset(self, name: str, split: str, digest: str, samples: int) -> None:
        self._journal.dataset(name, split, digest, samples)
        if split == self._evaluated_split:
            self._evaluated_on = f"{name}-{split}"

    def model(self, step: int, folder: Path) -> None:
        place = folder.relative_to(self._folder.path)
        self._journal.model(step, place.as_posix(), self._evaluated_on)

    def artifact(self, name: str, content: Callable[[], bytes]) -> None:
        self._artifacts.write(name, content)

    def end(self, status: EndStatus, summary: Mapping[str, float | str] | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        if self._sampler is not None:
            self._sampler.stop()
        # The reason of a failure may be an error that names an address.
        said = {k: redact(v) if isinstance(v, str) else v for k, v in (summary or {}).items()}
        self._journal.end(status, said)
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
        return self._store.shown + runs_page(experiment, run)

    def _drain(self, uploader: "subprocess.Popen[bytes]") -> None:
        step_forward(uploader.pid)
        try:
            code = uploader.wait(DRAIN_WAIT_S)
        except subprocess.TimeoutExpired:
            code = None
        if code == 0:
            return
        state = "is still uploading in the background" if code is None else "could not upload all"
        warn(
            f"MLflow: {state}{_last_said(self._folder.tracking_log)}; the journal has everything, "
            f"and this uploads what is missing: {sync_command(self._folder)}"
        )


def _last_said(log: Path) -> str:
    """Where the uploader's log lies, and its last line, which may say what it waits for."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return f" (log: {log}" + (f", ending: {lines[-1].strip()})" if lines else ")")


def sync_command(folder: RunFolder) -> str:
    """What a person types to upload what is missing."""
    return f"python -m pipeline.tracking sync {shlex.quote(str(folder.path))}"


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
