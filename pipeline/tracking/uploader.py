"""Carries a journal to a store: where it stopped is kept in the run folder.

Whatever happens between two writes of the cursor is sent again, which the store ignores.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError
from pipeline.tracking.batch import gather, lost_state
from pipeline.tracking.journal import now_ms, read_journal
from pipeline.tracking.lifecycle import Lifecycle
from pipeline.tracking.locks import lock
from pipeline.tracking.mlflow_store import MlflowStore, StoreRefused
from pipeline.tracking.redact import redact
from pipeline.tracking.run_folder import (
    RunFolder,
    read_json,
    read_run_info,
    update_run_info,
    write_json,
)
from pipeline.tracking.store_uri import StoreUri

CHUNK_BYTES = 1 << 19
"""Journal that is sent between two writes of the cursor."""

_CHECK_BYTES = 256


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

    Raises StoreUnavailable and StoreRefused from every method, RunDeleted on opening.
    """

    def __init__(self, folder: RunFolder, store: StoreUri):
        self._folder, self._shown = folder, store.shown
        self._store = MlflowStore(store)
        info = read_run_info(folder.path)
        if "run_key" not in info:
            raise DataError(f"{folder.info}: no run_key; the run was not started by this pipeline")
        first = read_journal(folder.journal, max_bytes=1).records
        start_ms = int(first[0]["t_ms"]) if first else now_ms()
        run = self._store.open_run(info["run_key"], info["experiment"], info["name"], start_ms)
        if run.deleted:
            raise RunDeleted(
                f"MLflow at {store.shown}: run {run.run_id} of {folder.path.name} was deleted "
                f"there; `mlflow runs restore --run-id {run.run_id}` brings it back"
            )
        self.run_id = run.run_id
        ids = {"mlflow_experiment_id": run.experiment_id, "mlflow_run_id": run.run_id}
        update_run_info(folder.path, tracking_uri=store.shown, **ids)
        self._lifecycle = Lifecycle()
        self._last_ms = start_ms
        self._offset, self._config_sent = self._read_cursor()
        if self._offset:
            self._lifecycle.see(read_journal(folder.journal).records)

    @property
    def lifecycle(self) -> Lifecycle:
        """Where the run stands, as far as it has been uploaded."""
        return self._lifecycle

    def upload(self) -> Uploaded:
        """Send everything that the journal holds beyond the cursor."""
        total = Uploaded()
        while True:
            sent = self._upload_chunk()
            if sent is None:
                return total
            total += sent

    def upload_config(self) -> None:
        """Send config.resolved.yaml as an artifact, once."""
        if self._config_sent or not self._folder.config.is_file():
            return
        text = redact(self._folder.config.read_text(encoding="utf-8"))
        self._store.log_text(self.run_id, text, self._folder.config.name)
        self._config_sent = True
        self._write_cursor()

    def mark_lost(self) -> None:
        """Say in the store that the run's process is gone; a later start takes it back."""
        self._store.set_state(self.run_id, lost_state(self._last_ms))

    def _upload_chunk(self) -> Uploaded | None:
        chunk = read_journal(self._folder.journal, self._offset, CHUNK_BYTES)
        if chunk.end == self._offset:
            return None
        # What the store has must never be lost by the journal, or a restart would double it.
        with self._folder.journal.open("rb") as file:
            os.fsync(file.fileno())
        batch = gather(chunk.records)
        self._store.log(self.run_id, batch.points, batch.params, batch.tags)
        self._store.log_datasets(self.run_id, batch.datasets)
        if batch.state is not None:
            self._store.set_state(self.run_id, batch.state)
        self._lifecycle.see(chunk.records)
        self._last_ms = max([self._last_ms, *(int(record["t_ms"]) for record in chunk.records)])
        self._offset = chunk.end
        self._write_cursor()
        return Uploaded(len(chunk.records), len(batch.points))

    def _read_cursor(self) -> tuple[int, bool]:
        cursor = read_json(self._folder.cursor)
        if (cursor.get("uri"), cursor.get("run_id")) != (self._shown, self.run_id):
            return 0, False
        offset = int(cursor["offset"])
        # Another journal under the same name: start over, the store ignores what it has.
        if cursor["check"] != self._check(offset):
            return 0, bool(cursor["config_sent"])
        self._last_ms = int(cursor["last_ms"])
        return offset, bool(cursor["config_sent"])

    def _write_cursor(self) -> None:
        cursor = {
            "uri": self._shown,
            "run_id": self.run_id,
            "offset": self._offset,
            "check": self._check(self._offset),
            "last_ms": self._last_ms,
            "config_sent": self._config_sent,
        }
        write_json(self._folder.cursor, cursor)

    def _check(self, offset: int) -> str:
        """Tells the journal before ``offset`` from another one."""
        start = max(0, offset - _CHECK_BYTES)
        with self._folder.journal.open("rb") as file:
            file.seek(start)
            return hashlib.sha256(file.read(offset - start)).hexdigest()


@contextlib.contextmanager
def uploading(path: Path, wait_s: float | None) -> Iterator[bool]:
    """The right to upload a run, given to one process at a time; ``path`` is the lock's file.

    Yields False where another one keeps it for longer than ``wait_s`` (None waits forever).
    """
    with path.open("a") as file:
        yield lock(file.fileno(), wait_s)
