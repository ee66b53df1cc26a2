"""The end of a run that no rank could write any more."""

import os
import subprocess
import sys

from pipeline.errors import UserError
from pipeline.log import warn
from pipeline.tracking.journal import Journal, read_journal
from pipeline.tracking.lifecycle import EndStatus, Lifecycle
from pipeline.tracking.run_folder import RunFolder, read_run_info
from slurm.aftermath.evidence import Attempt

_UPLOAD_S = 30


def close_journal(folder: RunFolder, attempt: Attempt, status: EndStatus) -> None:
    """End the journal as decided here; tell MLflow's server.

    Where another job is at work on it, it is left to that one: this one was refused.
    """
    if not folder.journal.is_file():
        return
    lifecycle = Lifecycle()
    lifecycle.see(read_journal(folder.journal).records)
    # A rank that fell with others called it FAILED, and could not know that the run goes on.
    if lifecycle.last is None or lifecycle.status in (status, "FINISHED", "KILLED"):
        return
    if not lifecycle.ended and lifecycle.last.get("job_id") != attempt.raw_id:
        return
    try:
        journal = Journal(folder.journal)
        journal.end(status, {})
        journal.close()
    except (UserError, OSError) as error:
        warn(f"{folder.journal} has no end: {error}")
        return
    _upload(folder)


def _upload(folder: RunFolder) -> None:
    """Only to a server: an SQLite file does not bear writers on several nodes."""
    uri = read_run_info(folder.path).get("tracking_uri", "")
    if not uri.startswith(("http://", "https://")):
        return
    command = [sys.executable, "-m", "pipeline.tracking", "sync", str(folder.path)]
    try:
        subprocess.run(command, timeout=_UPLOAD_S, check=True, env=os.environ)
    except (subprocess.SubprocessError, OSError) as error:
        warn(f"MLflow does not know of the end yet ({error}); the next sync tells it")
