"""Messages of forked processes, and their end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path

import psutil
import pytest

from data_prep.team import run_forked
from pipeline.errors import DataError, PipelineError

Send = Callable[[tuple[int, int]], None]


def process_and_square(number: int, send: Send) -> None:
    send((os.getpid(), number * number))
    send((os.getpid(), -number))


@pytest.mark.parametrize("workers", [1, 3, 20])
def test_every_message_arrives_once(workers: int) -> None:
    found: list[tuple[int, int]] = []
    begun: list[int] = []
    run_forked(process_and_square, 7, workers, found.append, lambda: begun.append(len(found)))
    assert sorted(value for _, value in found) == sorted(
        [i * i for i in range(7)] + [-i for i in range(7)]
    )
    assert begun == [0]
    assert (os.getpid() in dict(found)) == (workers == 1)
    assert active_children() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_is_raised(workers: int) -> None:
    def refuse(number: int, send: Send) -> None:
        raise DataError(f"task {number}")

    with pytest.raises(DataError, match="task"):
        run_forked(refuse, 4, workers, print)
    assert active_children() == []


def test_a_dead_worker_is_told() -> None:
    with pytest.raises(PipelineError, match="exit code 3"):
        run_forked(lambda number, send: os._exit(3), 4, 2, print)
    assert active_children() == []


def test_an_error_here_ends_the_workers() -> None:
    def refuse(message: tuple[int, int]) -> None:
        raise ValueError(message)

    with pytest.raises(ValueError):
        run_forked(process_and_square, 5, 2, refuse)
    assert active_children() == []


@pytest.mark.parametrize("naps", [0, 0.05])
def test_nobody_stays_behind_when_the_main_process_is_killed(naps: float) -> None:
    # A receiver that takes its time keeps the workers waiting for their next task.
    program = (
        "import time; from data_prep.team import run_forked\n"
        "print('begun', flush=True)\n"
        f"task = lambda number, send: (time.sleep({naps}), send(number))\n"
        "run_forked(task, 10**6, 4, lambda message: time.sleep(0.01))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    process.stdout.readline()
    deadline = time.monotonic() + 30
    while len(workers := psutil.Process(process.pid).children()) < 4:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
