"""The background uploader: follows the journal of a run for as long as its process lives."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import PipelineError, PreflightError
from pipeline.tracking.journal import read_journal
from pipeline.tracking.lifecycle import Lifecycle, Process
from pipeline.tracking.mlflow_store import StoreUnavailable
from pipeline.tracking.run_folder import RunFolder, read_run_info
from pipeline.tracking.store_uri import store_of_sync
from pipeline.tracking.uploader import Uploader, uploading

POLL_S = 0.5
UPLOAD_EVERY_S = 5.0
RETRY_FIRST_S = 2.0
RETRY_MOST_S = 60.0
GIVE_UP_S = 60.0
"""How long it goes on trying after the run has ended, in seconds."""

_NICENESS = 10


def follow(run_folder: Path, parent_pid: int) -> int:
    """Upload until the journal ends or the process ``parent_pid`` is gone; 0 if all arrived.

    Raises PreflightError where it gives up; the cursor then says what is missing.
    """
    parent = Process.of(parent_pid)
    _stay_out_of_the_way()
    folder = RunFolder(run_folder)
    with uploading(folder.lock, wait_s=None):
        return _Follower(folder, parent).run()


@dataclass
class _Follower:
    folder: RunFolder
    parent: Process | None
    say: Callable[[str], None] = lambda message: print(f"{time.strftime('%FT%T')} {message}")
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    uploader: Uploader | None = None
    seen: int = 0
    failures: int = 0

    def run(self) -> int:
        deadline: float | None = None
        next_try = 0.0
        while True:
            over = self._is_over()
            now = time.monotonic()
            if over and deadline is None:
                deadline, next_try = now + GIVE_UP_S, now
            if now >= next_try:
                try:
                    self._upload(over)
                except StoreUnavailable as error:
                    self._note_failure(error, deadline)
                else:
                    if over:
                        return 0
                    self.failures = 0
                next_try = time.monotonic() + self._pause_s(over)
            time.sleep(POLL_S)

    def _is_over(self) -> bool:
        """Whether nothing more will be written, looked at before the last upload."""
        # In this order: what is written just before the process ends must still be read.
        gone = self.parent is None or self.parent.is_gone
        chunk = read_journal(self.folder.journal, self.seen)
        self.lifecycle.see(chunk.records)
        self.seen = chunk.end
        return gone or self.lifecycle.ended

    def _upload(self, over: bool) -> None:
        if self.uploader is None:
            recorded = read_run_info(self.folder.path).get("tracking_uri")
            store = store_of_sync(None, recorded, os.environ, Path.cwd())
            self.uploader = Uploader(self.folder, store)
            self.say(f"uploading to {store.shown}, run {self.uploader.run_id}")
        self.uploader.upload()
        # A newer start than the parent's has an uploader of its own waiting.
        if over and self.lifecycle.status == "LOST":
            self.uploader.mark_lost()
            self.say("the training is gone without a word: marked FAILED, state=lost")
        try:
            self.uploader.upload_config()
        except StoreUnavailable as error:
            # Artifacts may lie elsewhere than metrics, which need not wait for them.
            if over:
                raise
            self.say(f"config not uploaded yet: {error}")

    def _note_failure(self, error: PipelineError, deadline: float | None) -> None:
        self.failures += 1
        self.say(f"try {self.failures}: {error}")
        if deadline is not None and time.monotonic() > deadline:
            raise PreflightError(f"gave up; `python -m pipeline.tracking sync` goes on: {error}")

    def _pause_s(self, over: bool) -> float:
        if not self.failures:
            return UPLOAD_EVERY_S
        pause = min(RETRY_FIRST_S * 2 ** (self.failures - 1), RETRY_MOST_S)
        return min(pause, UPLOAD_EVERY_S) if over else pause


def _stay_out_of_the_way() -> None:
    """Signals are for the training: this process ends after it, when all is uploaded."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
