"""The page of a rank, and what its watcher counts as waiting."""

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.watchdog.beat import PAGE_BYTES, Beat, Moment, read_moment
from pipeline.watchdog.watching import Errands, Stillness

ROOT = Path(__file__).resolve().parents[2]
MOMENT = Moment(3, 2, True, "agreement")
_WATCHED = """
import os, sys, time
from pathlib import Path
from pipeline.watchdog.watcher import Watcher
from pipeline.world import World
watcher = Watcher(World(rank=1, size=2), 600, Path("nowhere"))
print(watcher._process.pid, flush=True)
time.sleep(60)
"""


def test_a_page_tells_where_its_rank_is() -> None:
    page = mmap.mmap(-1, PAGE_BYTES)
    beat = Beat(page)
    assert read_moment(page) == Moment(0, 0, False, "start")
    with beat.waiting("gradients", 2):
        assert read_moment(page) == Moment(1, 2, True, "gradients")
        with beat.waiting("sum over the ranks"):
            assert read_moment(page) == Moment(2, 2, True, "sum over the ranks")
        assert read_moment(page) == Moment(2, 2, True, "gradients")
    assert read_moment(page) == Moment(2, 2, False, "gradients")
    assert read_moment(page).name == "gradients, step 2"
    with pytest.raises(ValueError), beat.waiting("agreement"):
        raise ValueError
    assert read_moment(page) == Moment(3, 2, False, "agreement")


def looked(*looks: tuple[float, Moment, bool]) -> Stillness:
    still = Stillness(most_gap_s=2.0)
    for now_s, moment, is_stopped in looks:
        still.look(moment, now_s, is_stopped)
    return still


def test_waiting_is_counted_from_the_moment_on() -> None:
    later = replace(MOMENT, exchanges=4)
    still = looked((10, MOMENT, False), (11, later, False), (12, later, False), (13, later, False))
    assert (still.idle_s, still.counted_s) == (2, 2)


def test_waiting_is_not_counted_while_the_rank_is_stopped() -> None:
    still = looked((10, MOMENT, False), (11, MOMENT, False), (12, MOMENT, True), (13, MOMENT, True))
    assert (still.idle_s, still.counted_s) == (3, 1)


def test_waiting_is_not_counted_while_the_watcher_did_not_run() -> None:
    still = looked((10, MOMENT, False), (11, MOMENT, False), (1000, MOMENT, False))
    assert (still.idle_s, still.counted_s) == (990, 3)


def test_an_errand_that_never_returns_holds_up_nothing() -> None:
    errands, forever = Errands(), threading.Event()
    assert errands.run(lambda: 5, 10) == 5
    assert errands.run(forever.wait, 0.01) is None
    assert errands.problem == "it does not answer"
    began_s = time.monotonic()
    assert errands.run(lambda: 5, 0.01) is None, "the thread is still away"
    assert time.monotonic() - began_s < 5
    forever.set()
    assert errands.run(lambda: 5, 10) == 5


def test_an_errand_says_what_the_file_system_said() -> None:
    errands = Errands()
    assert errands.run(lambda: os.listdir("/nowhere"), 10) is None
    assert "No such file" in errands.problem


@pytest.fixture
def watched() -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A process with a watcher, and the watcher's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WATCHED], cwd=ROOT, text=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    yield process, int(process.stdout.readline())
    process.kill()
    process.communicate()


def is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone_in_time(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_there(pid)


def test_a_watcher_is_small_outlives_signals_to_its_job_and_ends_with_its_rank(
    watched: tuple["subprocess.Popen[str]", int],
) -> None:
    process, watcher = watched
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(watcher, number)
    assert os.getsid(watcher) != os.getsid(process.pid)
    time.sleep(0.3)
    assert is_there(watcher)
    private = Path(f"/proc/{watcher}/status").read_text().partition("RssAnon:")[2].split()[0]
    assert int(private) < 20_000, "KiB"
    process.kill()
    assert gone_in_time(watcher)


def test_a_watcher_ends_with_its_rank_even_if_that_is_stopped(
    watched: tuple["subprocess.Popen[str]", int],
) -> None:
    process, watcher = watched
    os.kill(process.pid, signal.SIGSTOP)
    assert is_there(watcher)
    process.kill()
    assert gone_in_time(watcher)
