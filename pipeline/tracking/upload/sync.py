"""Uploads what is missing of runs that have no uploader at work."""

import os
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.config import read_resolved
from pipeline.errors import PipelineError
from pipeline.redact import redact
from pipeline.tracking.lifecycle import Status
from pipeline.tracking.run_folder import RunFolder, read_run_info
from pipeline.tracking.store_uri import JOURNAL_ONLY, StoreUri, parse_store, store_of_sync
from pipeline.tracking.upload.mlflow_store import StoreUnavailable
from pipeline.tracking.upload.uploader import FolderUnwritable, RunDeleted, Uploader, uploading

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

    What is wrong with a run or its store fails that run, and not the call; a store that does not
    answer is asked once. Raises UserError for a bad ``uri``.
    """
    given = None if uri is None else parse_store(uri, Path.cwd())
    down: dict[str, str] = {}
    return [_sync_run(RunFolder(path), given, down) for path in run_folders]


def _sync_run(folder: RunFolder, given: StoreUri | None, down: dict[str, str]) -> SyncResult:
    """Upload one run; ``down`` maps stores that did not answer to what was said of them."""
    name = folder.path.absolute().name
    shown = None if given is None else given.shown
    try:
        store = given or store_of_sync(None, _own_uri(folder), os.environ, Path.cwd())
        shown = store.shown
        if not folder.journal.is_file() or not folder.info.is_file():
            return SyncResult(name, "empty")
        if shown in down:
            return SyncResult(name, "failed", shown, problem=down[shown])
        with uploading(folder.lock, _BUSY_WAIT_S) as ours:
            return _upload(folder, store) if ours else SyncResult(name, "busy", shown)
    except RunDeleted as error:
        return SyncResult(name, "deleted", shown, problem=str(error))
    except FolderUnwritable as error:
        return SyncResult(name, "failed", shown, problem=str(error))
    except StoreUnavailable as error:
        down[str(shown)] = str(error)
        return SyncResult(name, "failed", shown, problem=str(error))
    except PipelineError as error:
        return SyncResult(name, "failed", shown, problem=str(error))
    except OSError as error:
        # Another user's run, whose journal cannot be read.
        problem = f"{error.filename or folder.path}: {error.strerror}"
        return SyncResult(name, "failed", shown, problem=problem)
    except Exception:  # noqa: BLE001 (a bug that one run brings out must not cost the others)
        problem = f"{folder.path}: not uploaded, by a bug:\n{redact(traceback.format_exc())}"
        return SyncResult(name, "failed", shown, problem=problem)


def _own_uri(folder: RunFolder) -> str | None:
    """Where the run has been uploaded to, else where its config says; None leaves it open."""
    recorded = read_run_info(folder.path).get("tracking_uri")
    if recorded is not None or not folder.config.is_file():
        return recorded
    # In a Slurm job a SQLite file is left to the login node, so nothing has been recorded.
    configured = read_resolved(folder.config).tracking.uri
    return None if configured == JOURNAL_ONLY else configured


def _upload(folder: RunFolder, store: StoreUri) -> SyncResult:
    uploader = Uploader(folder, store)
    sent = uploader.upload()
    status = uploader.lifecycle.status
    if status == "LOST":
        uploader.mark_lost()
    uploader.upload_files()
    return SyncResult(
        folder.path.absolute().name,
        "synced",
        store.shown,
        uploader.run_id,
        status,
        sent.records,
        sent.points,
    )
