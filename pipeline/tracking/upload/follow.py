"""The background uploader: follows the journal of a run for as long as its process lives."""

import contextlib
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import PreflightError
from pipeline.redact import redact
from pipeline.tracking.journal import read_journal
from pipeline.tracking.lifecycle import Lifecycle, Process
from pipeline.tracking.run_folder import RunFolder, read_run_info
from pipeline.tracking.store_uri import store_of_sync
from pipeline.tracking.upload.mlflow_store import StoreRefused, StoreUnavailable
from pipeline.tracking.upload.scheduling import step_back, step_forward
from pipeline.tracking.upload.uploader import Uploader, uploading

POLL_S = 0.5
UPLOAD_EVERY_S = 5.0
RETRY_FIRST_S = 2.0
RETRY_MOST_S = 60.0
GIVE_UP_S = 60.0
"""How long it goes on trying after the run has ended, in seconds."""

# All of these can pass: a server comes back, a token is renewed, somebody makes room on a disk.
_TROUBLES = (StoreUnavailable, StoreRefused, OSError)


def follow(run_folder: Path, parent_pid: int) -> int:
    """Upload until the journal ends or the process ``parent_pid`` is gone; 0 if all arrived.

    Raises PreflightError where it gives up; the cursor then says what is missing.
    """
    parent = Process.of(parent_pid)
    _leave_signals_to_the_training()
    step_back()
    folder = RunFolder(run_folder)
    with uploading(folder.lock, wait_s=None):
        return _Follower(folder, parent).run()


def _say(message: str) -> None:
    # Where the log's disk is full there is no other place to say so, and work goes on.
    with contextlib.suppress(OSError):
        print(f"{time.strftime('%FT%T')} {message}", flush=True)


@dataclass
class _Follower:
    folder: RunFolder
    parent: Process | None
    say: Callable[[str], None] = _say
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    uploader: Uploader | None = None
    seen: int = 0
    failures: int = 0
    troubles: set[str] = field(default_factory=set[str])
    """What has been said of the tries that failed since the last one that did not."""

    def run(self) -> int:
        give_up_s: float | None = None
        next_try_s = 0.0
        while True:
            over = self._is_over() or give_up_s is not None
            now_s = time.monotonic()
            if over and give_up_s is None:
                step_forward(os.getpid())
                give_up_s, next_try_s = now_s + GIVE_UP_S, now_s
            if now_s >= next_try_s:
                try:
                    self._upload(over)
                except _TROUBLES as error:
                    self._note_failure(error, give_up_s)
                except Exception as error:  # noqa: BLE001 (a bug may be of this moment only)
                    self._say_once(redact(traceback.format_exc()))
                    self.uploader = None  # what it holds may be half done: the cursor knows
                    self._note_failure(error, give_up_s)
                else:
                    if over:
                        return 0
                    self.failures = 0
                next_try_s = time.monotonic() + self._pause_s(over)
            time.sleep(POLL_S)

    def _is_over(self) -> bool:
        """Whether nothing more will be written, looked at before the last upload."""
        # In this order: what is written just before the process ends must still be read.
        gone = self.parent is None or self.parent.is_gone
        with contextlib.suppress(OSError):  # the upload reads the file too, and tells
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
        if self.failures:
            self.say(f"goes on after {self.failures} failed tries")
            self.troubles.clear()
        # A newer start than the parent's has an uploader of its own waiting.
        if over and self.uploader.lifecycle.status == "LOST":
            self.uploader.mark_lost()
            self.say("the training is gone without a word: marked FAILED, state=lost")
        try:
            self.uploader.upload_files()
        except _TROUBLES as error:
            # Artifacts may lie elsewhere than metrics, which need not wait for them.
            if over:
                raise
            self._say_once(f"artifacts not uploaded yet: {_one_line(error)}")

    def _note_failure(self, error: Exception, give_up_s: float | None) -> None:
        self.failures += 1
        text = _one_line(error)
        self._say_once(f"{text}; will try again")
        if give_up_s is None:
            return
        # While a training runs, a no may turn into a yes; a training that ends waits for neither.
        if isinstance(error, StoreRefused) or time.monotonic() > give_up_s:
            raise PreflightError(f"gave up; `python -m pipeline.tracking sync` goes on: {text}")

    def _say_once(self, text: str) -> None:
        if text not in self.troubles:
            self.troubles.add(text)
            self.say(text)

    def _pause_s(self, over: bool) -> float:
        if not self.failures:
            return UPLOAD_EVERY_S
        pause_s = min(RETRY_FIRST_S * 2 ** min(self.failures - 1, 10), RETRY_MOST_S)
        return min(pause_s, UPLOAD_EVERY_S) if over else pause_s


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'run folder'}: {error.strerror or error}"
    return redact(str(error)) or type(error).__name__


def _leave_signals_to_the_training() -> None:
    """This process ends after the training, when all is uploaded."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
