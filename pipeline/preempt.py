"""A request to stop: signal -> flag; the ranks agree on it at a step boundary."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Literal

from pipeline.errors import REQUEUED_EXIT_CODE, STOPPED_EXIT_CODE

_SAVE_AND_STOP = (signal.SIGTERM, signal.SIGUSR2)


class StopRequest:
    """Turns SIGTERM, SIGUSR2 and the first Ctrl-C into ``requested``; the second Ctrl-C quits.

    A launcher that handles Ctrl-C itself starts the ranks with SIGINT ignored: that stays so.
    ``requeues`` is asked after a stop whether the job will be queued again.
    """

    def __init__(self, requeues: Callable[[], bool] = lambda: False) -> None:
        self.requested = False
        self.cause: signal.Signals | None = None
        """What asked this process; None where nothing did, or another rank was asked."""
        self._requeues = requeues

    def install(self) -> "StopRequest":
        """Take over the signals of this process."""
        for number in _SAVE_AND_STOP:
            signal.signal(number, self._handle)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._handle)
        return self

    @property
    def end_status(self) -> Literal["REQUEUED", "KILLED"]:
        """What tracking is told of a training that was stopped."""
        return "REQUEUED" if self._requeues() else "KILLED"

    @property
    def exit_code(self) -> int:
        """Of a training that was stopped."""
        return REQUEUED_EXIT_CODE if self._requeues() else STOPPED_EXIT_CODE

    def next_step(self, resume_command: str) -> str:
        """How a training that was stopped goes on, in words."""
        return "by itself: the job is queued again" if self._requeues() else resume_command

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.requested:
            os._exit(STOPPED_EXIT_CODE)
        self.requested = True
        self.cause = signal.Signals(number)
        if number == signal.SIGINT:
            # print() may be interrupted inside itself; write is safe in a handler.
            os.write(
                sys.stderr.fileno(),
                b"\nstopping after this step and a checkpoint; Ctrl-C again quits at once\n",
            )
