"""Bringing journals to MLflow while a person goes on: jobs without a server only write journals."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import DataError
from pipeline.log import warn
from pipeline.tracking.locks import lock
from pipeline.tracking.run_folder import list_runs, read_json, read_run_info
from pipeline.tracking.store_uri import JOURNAL_ONLY
from slurm.watch.answers import cache_folder
from slurm.watch.run_facts import RunFacts, first_settings, read_facts, written_s

_EVERY_S = 60.0
"""Importing MLflow takes seconds of a login node that others use too."""
_NICENESS = 10
_ROOT = Path(__file__).resolve().parents[2]


def sync_in_background(runs: Sequence[RunFacts]) -> str | None:
    """Start to upload what jobs have journaled since; returns why the last upload failed.

    Nothing is started where nothing is missing, or an upload was started less than a minute ago.
    """
    behind = [str(facts.folder.path.absolute()) for facts in runs if is_behind(facts)]
    place = cache_folder()
    log_path = place / "sync.log"
    if not behind or time.time() - (written_s(log_path) or 0.0) < _EVERY_S:
        return None
    try:
        place.mkdir(parents=True, exist_ok=True)
        held, log = (place / "sync.lock").open("a"), log_path.open("ab")
    except OSError:
        return None  # no home to write to: `pipeline.tracking sync` is there
    with held, log:
        if not lock(held.fileno(), wait_s=0.0):
            return None
        failure = _failure(log_path)
        log.truncate(0)
        os.utime(log_path)
        upload = subprocess.Popen(
            [sys.executable, "-m", "pipeline.tracking", "sync", *behind],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": str(_ROOT)},
            # It keeps the lock for as long as it lives.
            pass_fds=[held.fileno()],
            start_new_session=True,
        )
        os.setpriority(os.PRIO_PROCESS, upload.pid, _NICENESS)
        return failure


def sync_root_in_background(runs_root: str) -> None:
    """The same for all runs in this folder; warns where the last upload failed."""
    runs: list[RunFacts] = []
    for folder in list_runs(runs_root):
        with contextlib.suppress(OSError):  # another user's, which is theirs to upload
            runs.append(read_facts(folder))
    if failure := sync_in_background(runs):
        warn(f"the last upload to MLflow failed: {failure}")


def is_behind(facts: RunFacts) -> bool:
    """Whether MLflow lacks something of a run that was meant for it; not if it is unreadable."""
    try:
        return _lacks(facts)
    except (DataError, OSError):
        return False  # `pipeline.tracking sync` says what is wrong with it


def _lacks(facts: RunFacts) -> bool:
    if not facts.jobs or facts.journal_s is None:
        return False  # none, or one of this machine, which has an uploader of its own
    journaled = facts.folder.journal.stat().st_size
    sent = read_json(facts.folder.cursor).get("offset")
    if isinstance(sent, int) and sent >= journaled:
        return False
    store = str(read_run_info(facts.folder.path).get("tracking_uri"))
    is_at_work = facts.lifecycle.status == "RUNNING" and not facts.is_silent
    if store.startswith("http") and is_at_work:
        return False  # the job itself sees to it
    return first_settings(facts.folder.journal).get("tracking.uri") != JOURNAL_ONLY


def _failure(log: Path) -> str | None:
    lines = log.read_text(errors="replace").splitlines()
    failed = [line for line in lines if line.startswith("error: ")]
    return failed[-1].removeprefix("error: ") if failed else None
