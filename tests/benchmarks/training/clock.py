"""When steps end."""

import time

import psutil


class Enough(Exception):
    """As many steps were timed as were asked for."""


class Clock:
    """Times ``measured`` steps after ``warm_up``; then ``tick`` raises Enough."""

    def __init__(self, warm_up: int, measured: int):
        self._left = warm_up + measured
        self._measured = measured
        self.seconds = self.cpu_seconds = 0.0

    def tick(self) -> None:
        """A step has ended."""
        self._left -= 1
        if self._left == self._measured:
            self.seconds, self.cpu_seconds = -time.perf_counter(), -_cpu_seconds()
        if self._left == 0:
            self.seconds += time.perf_counter()
            self.cpu_seconds += _cpu_seconds()
            raise Enough


def _cpu_seconds() -> float:
    """Spent so far by this process and its workers, which live as long as it does."""
    process = psutil.Process()
    family = [process, *process.children(recursive=True)]
    return sum(times.user + times.system for times in (one.cpu_times() for one in family))
