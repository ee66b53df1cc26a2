"""Forked processes that share what was opened before, and send back one result per task."""

import gc
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Generic, TypeVar

from pipeline.errors import PipelineError

T = TypeVar("T")

_STOPPING = (signal.SIGINT, signal.SIGTERM)


def run_forked(
    function: Callable[[int], T],
    count: int,
    workers: int,
    begin: Callable[[], None],
    receive: Callable[[T], None],
) -> None:
    """Call ``function`` with 0 to count - 1 on at most ``workers`` processes, in this one if that
    is one; ``receive`` gets each result as it is done, in any order. Calls ``begin`` first.

    Raises PipelineError where a process dies.
    """
    if min(workers, count) <= 1:
        begin()
        for number in range(count):
            receive(function(number))
        return
    team = _Team(function)
    try:
        team.start(min(workers, count))
        begin()  # after the forks: a progress bar has a thread, which would not survive them
        team.run(count, receive)
    finally:
        team.end()


class _Team(Generic[T]):
    """Worker processes, each with a pipe of its own: killing one cannot jam the others."""

    def __init__(self, function: Callable[[int], T]) -> None:
        self._function = function
        self._members: dict[Connection, ForkProcess] = {}

    def start(self, workers: int) -> None:
        """Fork. Workers inherit blocked signals: Ctrl-C reaches all, and one process decides."""
        context = multiprocessing.get_context("fork")
        gc.freeze()  # a collection in a child would copy the pages that it only looks at
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            for _ in range(workers):
                ours, theirs = context.Pipe()
                inherited = [ours, *self._members]
                process = context.Process(
                    target=_work, args=(theirs, inherited, self._function), daemon=True
                )
                process.start()
                self._members[ours] = process
                theirs.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            gc.unfreeze()

    def run(self, count: int, receive: Callable[[T], None]) -> None:
        waiting = iter(range(count))
        busy: set[Connection] = set()
        for pipe in self._members:
            pipe.send(next(waiting))
            busy.add(pipe)
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                receive(self._result(pipe))
                if (number := next(waiting, None)) is not None:
                    pipe.send(number)
                else:
                    busy.remove(pipe)

    def end(self) -> None:
        """Kill what still runs: the processes only read."""
        for process in self._members.values():
            process.kill()
        for pipe, process in self._members.items():
            process.join()
            pipe.close()

    def _result(self, pipe: Connection) -> T:
        try:
            return pipe.recv()
        except (EOFError, ConnectionResetError):
            process = self._members[pipe]
            process.join()
            raise PipelineError(
                f"a worker process ended with exit code {process.exitcode} (out of memory?); "
                "use fewer --workers"
            ) from None


def _work(pipe: Connection, inherited: list[Connection], function: Callable[[int], object]) -> None:
    """A worker: receives task numbers, sends results, ends when the other side is gone."""
    for other in inherited:
        other.close()  # else nobody would notice the end of the parent
    while True:
        try:
            pipe.send(function(pipe.recv()))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
