"""Carries a journal to a store: where it stopped is kept in the run folder.

Whatever happens between two writes of the cursor is sent again, which the store ignores.
"""

import contextlib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pipeline.errors import DataError
from pipeline.log import warn
from pipeline.tracking.journal import now_ms, read_journal
from pipeline.tracking.lifecycle import Lifecycle
from pipeline.tracking.locks import lock
from pipeline.tracking.run_folder import RunFolder, read_run_info, update_run_info
from pipeline.tracking.store_uri import StoreUri
from pipeline.tracking.upload.batch import LOST_TAG, RUNNING, RunState, gather, lost_state, sendable
from pipeline.tracking.upload.best_models import best_models, check_of
from pipeline.tracking.upload.cursor import Cursor, FolderUnwritable, sync_file, writing
from pipeline.tracking.upload.facts import RunFacts
from pipeline.tracking.upload.files import RunFiles
from pipeline.tracking.upload.mlflow_store import (
    NOTE_TAG,
    TAG_LENGTH,
    MlflowRun,
    MlflowStore,
    StoreLacks,
    StoreRefused,
)
from pipeline.tracking.upload.note import note, note_check

__all__ = ["FolderUnwritable", "RunDeleted", "Uploaded", "Uploader", "uploading"]

CHUNK_BYTES = 1 << 19
"""Journal that is sent between two writes of the cursor."""

RECEIPT_TAG = "pipeline.journal_bytes"
"""How much of the journal the store has: less than the cursor says in a restored backup."""
NOTE_DIGEST_TAG = "pipeline.note_sha256"
"""Of the note as it was written here: another one was edited by a person."""

_SOURCE = "slurm/launch.py"


@dataclass(frozen=True)
class Uploaded:
    """What one call carried over: journal records and metric points."""

    records: int = 0
    points: int = 0

    def __add__(self, other: "Uploaded") -> "Uploaded":
        return Uploaded(self.records + other.records, self.points + other.points)


class RunDeleted(StoreRefused):
    """The run was deleted in MLflow, and stays so."""


class Uploader:
    """One run folder and one store. Hold ``uploading`` while using it.

    Raises StoreUnavailable and StoreRefused from every method, RunDeleted on opening, and
    FolderUnwritable where the run folder does not take the cursor. Warns of each oddity once.
    """

    def __init__(self, folder: RunFolder, store: StoreUri):
        self._folder = folder
        self._store = MlflowStore(store)
        info = read_run_info(folder.path)
        if lacking := [key for key in ("run_key", "name", "experiment") if key not in info]:
            raise DataError(
                f"{folder.info}: no {', '.join(lacking)}; the run was not started by this pipeline"
            )
        self._run_key, self._run_name = str(info["run_key"]), sendable(str(info["name"]))
        self._run = self._open(sendable(str(info["experiment"])), store)
        self._is_lost_there = self._run.tags.get("state") == LOST_TAG
        self.run_id = self._run.run_id
        self._points = self._store.points(self.run_id)
        ids = {"mlflow_experiment_id": self._run.experiment_id, "mlflow_run_id": self.run_id}
        with writing(folder.info):
            update_run_info(folder.path, tracking_uri=store.shown, **ids)
        self._cursor = self._read_cursor(store)
        self._written: Cursor | None = None
        self._lifecycle, self._facts = Lifecycle(), RunFacts()
        if self._cursor.offset:
            records = read_journal(folder.journal, max_bytes=self._cursor.offset).records
            self._lifecycle.see(records)
            self._facts.see(gather(records))
        self._files = RunFiles(folder, self._store, self._cursor)
        self._said: set[str] = set()

    @property
    def lifecycle(self) -> Lifecycle:
        """Where the run stands, as far as it has been uploaded."""
        return self._lifecycle

    def upload(self) -> Uploaded:
        """Send everything that the journal holds beyond the cursor, then models and note."""
        # What could not be written last time.
        self._save()
        total = Uploaded()
        while True:
            sent = self._upload_chunk()
            if sent is None:
                break
            total += sent
        self._mention_torn_line()
        if self._is_lost_there and self._lifecycle.status == "RUNNING":
            # Silent it was, and not gone.
            self._store.set_state(self.run_id, RUNNING)
            self._is_lost_there = False
        self._upload_models()
        # The note of a lost run says so: see mark_lost.
        if self._facts.state is not None and self._lifecycle.status != "LOST":
            self._upload_note(self._facts.state)
        return total

    def upload_files(self) -> None:
        """Send artifacts, config and pictures of the curves, as far as they are new or changed.

        They may lie elsewhere than metrics, which need not wait for them. While the run is at
        work, what was not taken is put off for a while.
        """
        is_over = self._lifecycle.status not in ("RUNNING", "NEW")
        try:
            self._files.send(self._facts, self._run_key, self._run_name, is_over)
        finally:
            self._save()

    def mark_lost(self) -> None:
        """Say in the store that the run's process is gone; a later record takes it back."""
        state = lost_state(self._facts.last_ms)
        self._store.set_state(self.run_id, state)
        self._is_lost_there = True
        self._upload_note(state)

    def _open(self, experiment: str, store: StoreUri) -> MlflowRun:
        first = read_journal(self._folder.journal, max_bytes=1).records
        start_ms = int(first[0]["t_ms"]) if first else now_ms()
        origin = {"mlflow.source.name": _SOURCE, "mlflow.source.type": "LOCAL"}
        # Who trains, not who uploads.
        origin |= {"mlflow.user": user} if (user := _owner(self._folder.journal)) else {}
        run = self._store.open_run(self._run_key, experiment, self._run_name, start_ms, origin)
        if run.deleted:
            raise RunDeleted(
                f"MLflow at {store.shown}: run {run.run_id} of {self._run_name} was deleted "
                f"there; `mlflow runs restore --run-id {run.run_id}` brings it back"
            )
        return run

    def _read_cursor(self, store: StoreUri) -> Cursor:
        path, journal = self._folder.cursor, self._folder.journal
        cursor = Cursor.read(path, store.shown, self.run_id, journal)
        receipt = self._run.tags.get(RECEIPT_TAG, "")
        has_bytes = int(receipt) if receipt.isdigit() else 0
        if has_bytes < cursor.offset:
            warn(
                f"MLflow at {store.shown} has less of run {self._run_name} than it was sent, as "
                "after restoring a backup; all is sent again, which doubles nothing"
            )
            return Cursor(store.shown, self.run_id)
        return cursor

    def _upload_chunk(self) -> Uploaded | None:
        start = self._cursor.offset
        chunk = read_journal(self._folder.journal, start, CHUNK_BYTES)
        if chunk.end == start:
            return None
        # What the store has must never be lost by the journal, or a restart would double it.
        sync_file(self._folder.journal)
        batch = gather(chunk.records)
        self._mention_oddities(batch.unknown, chunk.unreadable)
        self._points.send(batch.points)
        self._store.log_params(self.run_id, batch.params)
        self._store.log_datasets(self.run_id, batch.datasets)
        if batch.state is not None:
            self._store.set_state(self.run_id, batch.state)
        # The receipt goes last.
        tags = _for_the_page(batch.tags) | {RECEIPT_TAG: str(chunk.end)}
        self._store.set_tags(self.run_id, tags)
        self._lifecycle.see(chunk.records)
        self._facts.see(batch)
        self._cursor.move(self._folder.journal, chunk.end)
        self._save()
        return Uploaded(len(chunk.records), len(batch.points))

    def _upload_models(self) -> None:
        """Bring the logged models to what the journal and the disk say, if that has changed."""
        wanted = best_models(self._facts, self._folder, self._run_key, self._run_name)
        check = check_of(wanted)
        if not wanted or check == self._cursor.models_check:
            return
        try:
            ids = self._store.log_models(self._run, wanted, self._cursor.models)
        except StoreLacks as error:
            self._warn_once(f"{error}; best checkpoints do not appear there as models")
            return
        self._cursor.models, self._cursor.models_check = ids, check
        self._save()

    def _upload_note(self, state: RunState) -> None:
        check = note_check(self._facts, state.tag)
        if check == self._cursor.note_check:
            return
        tags = self._store.tags(self.run_id)
        there, digest = tags.get(NOTE_TAG, ""), tags.get(NOTE_DIGEST_TAG)
        # Earlier versions wrote no note, so that one without a digest is a person's.
        if digest == _digest(there) or (digest is None and not there):
            text = note(self._facts, self._folder, state.tag)[:TAG_LENGTH]
            self._store.set_tags(self.run_id, {NOTE_TAG: text, NOTE_DIGEST_TAG: _digest(text)})
        else:
            self._warn_once(f"the note of run {self._run_name} was edited in MLflow; it stays so")
        self._cursor.note_check = check
        self._save()

    def _save(self) -> None:
        """Write the cursor, if it has moved."""
        if self._cursor != self._written:
            self._cursor.write(self._folder.cursor)
            self._written = deepcopy(self._cursor)

    def _mention_oddities(self, unknown: set[str], unreadable: int) -> None:
        if unreadable:
            self._warn_once(
                f"{self._folder.journal}: skipped {unreadable} damaged lines; what they "
                "held is lost"
            )
        if unknown:
            kinds = ", ".join(sorted(unknown))
            self._warn_once(
                f"{self._folder.journal}: skipped records of kinds that this version does not "
                f"know ({kinds}); a later one wrote them"
            )

    def _mention_torn_line(self) -> None:
        size = self._folder.journal.stat().st_size
        if size > self._cursor.offset and self._lifecycle.status not in ("RUNNING", "NEW"):
            self._warn_once(
                f"{self._folder.journal}: its last line was torn by a kill or a full disk; skipped"
            )

    def _warn_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            warn(text)


@contextlib.contextmanager
def uploading(path: Path, wait_s: float | None) -> Iterator[bool]:
    """The right to upload a run, given to one process at a time; ``path`` is the lock's file.

    Yields False where another one keeps it for longer than ``wait_s`` (None waits forever).
    Raises FolderUnwritable where the file cannot be made.
    """
    with writing(path):
        file = path.open("a")
    with file:
        yield lock(file.fileno(), wait_s)


def _for_the_page(tags: Mapping[str, str]) -> dict[str, str]:
    """``tags``, and those under the names that MLflow's page of a run shows in its columns."""
    extra: dict[str, str] = {}
    if "git_commit" in tags:
        extra["mlflow.source.git.commit"] = tags["git_commit"]
    # The page shows what follows the last slash.
    words = tags.get("launch_command", "").split()
    if config := next((word for word in words if word.endswith((".yaml", ".yml"))), None):
        extra["mlflow.source.name"] = config
    return {**tags, **extra}


def _owner(path: Path) -> str | None:
    try:
        return path.owner()
    except (KeyError, OSError):
        return None  # a user that this machine does not know


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
