"""Forked processes: they start at once, share what was opened before, and send messages back."""

import gc
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Generic, TypeVar

from pipeline.errors import PipelineError

T = TypeVar("T")

Task = Callable[[int, Callable[[T], None]], None]
"""Called with the number of the task and with a function that sends a message."""

# One process decides: a terminal's Ctrl-C reaches all, and so do Slurm's warnings.
_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def run_forked(
    task: Task[T],
    count: int,
    workers: int,
    receive: Callable[[T], None],
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Carry out tasks 0 to count - 1 on at most ``workers`` processes, or in this one if that is 1.

    ``receive`` gets the messages of all, in any order; ``begin`` is called before the first.
    Raises the first PipelineError that a task raises, or one where a process dies; what is in work
    is then dropped.
    """
    if min(workers, count) <= 1:
        begin()
        for number in range(count):
            task(number, receive)
        return
    team = _Team(task)
    try:
        team.start(min(workers, count))
        begin()  # after the forks: a progress bar has a thread, which would not survive them
        team.run(count, receive)
    finally:
        team.end()


class _Done:
    """The end of a task."""


class _Team(Generic[T]):
    """Worker processes, each with a pipe of its own: killing one cannot jam the others."""

    def __init__(self, task: Task[T]):
        self._task = task
        self._members: dict[Connection, ForkProcess] = {}

    def start(self, workers: int) -> None:
        context = multiprocessing.get_context("fork")
        gc.freeze()  # a collection in a child would copy the pages that it only looks at
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        try:
            for _ in range(workers):
                ours, theirs = context.Pipe()
                inherited = [ours, *self._members]
                process = context.Process(
                    target=_work, args=(theirs, inherited, self._task), daemon=True
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
                message = self._message(pipe)
                if isinstance(message, PipelineError):
                    raise message
                if not isinstance(message, _Done):
                    receive(message)
                elif (number := next(waiting, None)) is not None:
                    pipe.send(number)
                else:
                    busy.remove(pipe)

    def end(self) -> None:
        """Kill what still runs: files get their names only when they are whole."""
        for process in self._members.values():
            process.kill()
        for pipe, process in self._members.items():
            process.join()
            pipe.close()

    def _message(self, pipe: Connection) -> T | PipelineError | _Done:
        try:
            return pipe.recv()
        except (EOFError, ConnectionResetError):
            process = self._members[pipe]
            process.join()
            raise PipelineError(
                f"a worker process ended with exit code {process.exitcode} (out of memory?); "
                "use fewer --workers, then run the same command again to continue"
            ) from None


def _work(pipe: Connection, inherited: list[Connection], task: Task[object]) -> None:
    """A worker: receives task numbers, sends messages, ends when the other side is gone."""
    for other in inherited:
        other.close()  # else nobody would notice the end of the parent
    gc.disable()  # nothing here makes cycles
    while True:
        try:
            number: int = pipe.recv()
            try:
                task(number, pipe.send)
            except PipelineError as error:
                pipe.send(error)
            else:
                pipe.send(_Done())
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
