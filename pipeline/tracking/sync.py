"""Uploads what is missing of runs that have no uploader at work."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.tracking.lifecycle import Status
from pipeline.tracking.mlflow_store import StoreRefused, StoreUnavailable
from pipeline.tracking.run_folder import RunFolder, read_run_info
from pipeline.tracking.store_uri import StoreUri, store_of_sync
from pipeline.tracking.uploader import RunDeleted, Uploaded, Uploader, uploading

_BUSY_WAIT_S = 2.0

Outcome = Literal["synced", "busy", "empty", "deleted", "failed"]
"""busy: an uploader is at work. empty: no journal yet. deleted: removed in MLflow."""


@dataclass(frozen=True)
class SyncResult:
    """What became of one run. ``uri`` is without credentials; counts are of this call."""

    run: str
    outcome: Outcome
    uri: str | None = None
    mlflow_run_id: str | None = None
    status: Status | None = None
    records: int = 0
    points: int = 0
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def sync_runs(run_folders: Sequence[Path], uri: str | None = None) -> list[SyncResult]:
    """Upload each run to ``uri``, else to its own store, else to the environment's.

    A store that cannot be reached fails its runs, not the call. Raises UserError for a bad uri.
    """
    results: list[SyncResult] = []
    down: dict[str, str] = {}
    for run_folder in run_folders:
        recorded = read_run_info(run_folder).get("tracking_uri")
        store = store_of_sync(uri, recorded, os.environ, Path.cwd())
        if store.shown in down:
            problem = down[store.shown]
            result = SyncResult(run_folder.name, "failed", store.shown, problem=problem)
        else:
            result = _sync_run(RunFolder(run_folder), store, down)
        results.append(result)
    return results


def _sync_run(folder: RunFolder, store: StoreUri, down: dict[str, str]) -> SyncResult:
    name = folder.path.absolute().name
    if not folder.journal.is_file() or not folder.info.is_file():
        return SyncResult(name, "empty")
    with uploading(folder.lock, _BUSY_WAIT_S) as ours:
        if not ours:
            return SyncResult(name, "busy", store.shown)
        try:
            uploader = Uploader(folder, store)
            sent: Uploaded = uploader.upload()
            status = uploader.lifecycle.status
            if status == "LOST":
                uploader.mark_lost()
            uploader.upload_config()
        except RunDeleted as error:
            return SyncResult(name, "deleted", store.shown, problem=str(error))
        except StoreUnavailable as error:
            down[store.shown] = str(error)
            return SyncResult(name, "failed", store.shown, problem=str(error))
        except StoreRefused as error:
            return SyncResult(name, "failed", store.shown, problem=str(error))
    return SyncResult(
        name, "synced", store.shown, uploader.run_id, status, sent.records, sent.points
    )
