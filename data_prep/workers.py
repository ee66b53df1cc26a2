"""Runs shard tasks in this process or in several; results are files, so order is free."""

import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import FrameType

from data_prep.image_check import Check, ImageCheck
from data_prep.shard_job import write_shard
from data_prep.shard_plan import ShardTask
from pipeline.errors import PipelineError

Report = Callable[[int, int], None]
"""Called with images and bytes done since the last call."""
Tasks = Sequence[Callable[[], ShardTask]]
"""Made where they are carried out: a million entries are never sent anywhere."""

_Message = tuple[int, int] | PipelineError | None
"""Progress, an error, or the end of a task."""

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


@contextmanager
def stop_signals() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into Stopped while the block runs."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_tasks(
    tasks: Tasks, workers: int, check: Check, begin: Callable[[], None], report: Report
) -> None:
    """Write the shards of all tasks on at most ``workers`` processes; calls ``begin`` first.

    Raises the first PipelineError that a task raises; a shard in work is then dropped.
    """
    if min(workers, len(tasks)) <= 1:
        begin()
        image_check = ImageCheck(check)
        for task in tasks:
            write_shard(task(), image_check, report)
        return
    team = _Team()
    try:
        team.start(tasks, min(workers, len(tasks)), check)
        begin()  # after the forks: a progress bar has a thread, which would not survive them
        team.run(len(tasks), report)
    finally:
        team.end()


class _Team:
    """Worker processes, each with a pipe of its own: killing one cannot jam the others."""

    def __init__(self) -> None:
        self._members: dict[Connection, ForkProcess] = {}

    def start(self, tasks: Tasks, workers: int, check: Check) -> None:
        """Fork the processes: they start at once and share the listing. They inherit blocked
        signals: Ctrl-C reaches the whole group, and one process decides."""
        context = multiprocessing.get_context("fork")
        gc.freeze()  # a collection in a child would copy the pages that it only looks at
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            for _ in range(workers):
                ours, theirs = context.Pipe()
                inherited = [ours, *self._members]
                process = context.Process(
                    target=_work, args=(theirs, inherited, tasks, check), daemon=True
                )
                process.start()
                self._members[ours] = process
                theirs.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            gc.unfreeze()

    def run(self, count: int, report: Report) -> None:
        waiting = iter(range(count))
        busy: set[Connection] = set()
        for pipe in self._members:
            pipe.send(next(waiting))
            busy.add(pipe)
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                message = self._receive(pipe)
                if isinstance(message, tuple):
                    report(*message)
                elif isinstance(message, PipelineError):
                    raise message
                elif (task := next(waiting, None)) is not None:
                    pipe.send(task)
                else:
                    busy.remove(pipe)

    def end(self) -> None:
        """Kill what still runs: files get their names only when they are whole."""
        for process in self._members.values():
            process.kill()
        for pipe, process in self._members.items():
            process.join()
            pipe.close()

    def _receive(self, pipe: Connection) -> _Message:
        try:
            return pipe.recv()
        except (EOFError, ConnectionResetError):
            process = self._members[pipe]
            process.join()
            raise PipelineError(
                f"a worker process ended with exit code {process.exitcode} (out of memory?); "
                "use fewer --workers, then run the same command again to continue"
            ) from None


def _work(pipe: Connection, inherited: list[Connection], tasks: Tasks, check: Check) -> None:
    """A worker: receives task numbers, reports progress, ends when the other side is gone."""
    for other in inherited:
        other.close()  # else nobody would notice the end of the parent
    gc.disable()  # nothing here makes cycles
    image_check = ImageCheck(check)
    while True:
        try:
            number: int = pipe.recv()
            _perform(tasks[number](), image_check, pipe)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _perform(task: ShardTask, image_check: ImageCheck, pipe: Connection) -> None:
    try:
        write_shard(task, image_check, lambda images, size: pipe.send((images, size)))
    except PipelineError as error:
        pipe.send(error)
    else:
        pipe.send(None)
