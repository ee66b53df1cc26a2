"""Runs shard tasks in this process or in several; results are files, so order is free."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from data_prep.image_check import Check, ImageCheck
from data_prep.shard_job import write_shard
from data_prep.shard_plan import ShardTask
from pipeline.errors import PipelineError

Report = Callable[[int, int], None]
"""Called with images and bytes done since the last call."""

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


def run_tasks(tasks: Sequence[ShardTask], workers: int, check: Check, report: Report) -> None:
    """Write the shards of all tasks on at most ``workers`` processes.

    Raises the first PipelineError that a task raises; a shard in work is then dropped.
    """
    if not tasks:
        return
    if workers == 1:
        image_check = ImageCheck(check)
        for task in tasks:
            write_shard(task, image_check, report)
        return
    team = _Team()
    try:
        team.start(min(workers, len(tasks)), check)
        team.run(tasks, report)
    finally:
        team.end()


class _Team:
    """Worker processes, each with a pipe of its own: killing one cannot jam the others."""

    def __init__(self) -> None:
        self._members: dict[Connection, SpawnProcess] = {}

    def start(self, workers: int, check: Check) -> None:
        """Start the processes. They inherit blocked signals: Ctrl-C reaches the whole group,
        and one process decides."""
        # DALI's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        resource_tracker.ensure_running()  # starting it unblocks the signals
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            for _ in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, check), daemon=True)
                process.start()
                self._members[ours] = process
                theirs.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def run(self, tasks: Sequence[ShardTask], report: Report) -> None:
        waiting = list(reversed(tasks))
        busy: set[Connection] = set()
        for pipe in self._members:
            if waiting:
                pipe.send(waiting.pop())
                busy.add(pipe)
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                message = self._receive(pipe)
                if isinstance(message, tuple):
                    report(*message)
                elif isinstance(message, PipelineError):
                    raise message
                elif waiting:
                    pipe.send(waiting.pop())
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


def _work(pipe: Connection, check: Check) -> None:
    """A worker: receives tasks, reports progress, ends when the other side is gone."""
    image_check = ImageCheck(check)
    while True:
        try:
            task: ShardTask = pipe.recv()
            _perform(task, image_check, pipe)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _perform(task: ShardTask, image_check: ImageCheck, pipe: Connection) -> None:
    try:
        write_shard(task, image_check, lambda images, size: pipe.send((images, size)))
    except PipelineError as error:
        pipe.send(error)
    else:
        pipe.send(None)
