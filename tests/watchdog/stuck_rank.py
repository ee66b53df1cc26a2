"""A rank of a small job in which something goes wrong: ``python -m ... MODE TIMEOUT_S LOGS``."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

from pipeline.collective import Collective, connect
from pipeline.world import from_environment

EXCHANGES, BAD = 6, 3
"""Exchanges of a job, and the one before which the last rank goes wrong."""
_SUSPEND = """
import os, signal, sys, time
pids = [int(word) for word in sys.argv[2:]]
for number in (signal.SIGSTOP, signal.SIGCONT):
    for pid in pids:
        os.kill(pid, number)
    time.sleep(float(sys.argv[1]))
"""


def stop_itself(collective: Collective, timeout_s: float) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def sleep_in_python(collective: Collective, timeout_s: float) -> None:
    time.sleep(1000)


def keep_the_interpreter(collective: Collective, timeout_s: float) -> None:
    sum(range(10**13))


def wait_in_the_kernel(collective: Collective, timeout_s: float) -> None:
    """As in a disk that does not answer: a parent cannot run before its vforked child execs."""
    libc = ctypes.PyDLL(None)
    if libc.vfork() == 0:
        libc.prctl(1, signal.SIGKILL)
        libc.pause()


def sleep_within_an_exchange(collective: Collective, timeout_s: float) -> None:
    def sleep_within_an_exchange(values: object) -> None:
        time.sleep(1000)

    dist.all_reduce = sleep_within_an_exchange


def be_slow(collective: Collective, timeout_s: float) -> None:
    time.sleep(0.6 * timeout_s)


def be_killed(collective: Collective, timeout_s: float) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


MODES: dict[str, Callable[[Collective, float], None]] = {
    f.__name__: f
    for f in (
        *(stop_itself, sleep_in_python, keep_the_interpreter, wait_in_the_kernel),
        *(sleep_within_an_exchange, be_slow, be_killed),
    )
}


def children() -> list[int]:
    return [
        int(word) for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    ]


def suspend_all(collective: Collective, timeout_s: float, watchers_too: bool) -> None:
    """As Slurm does with jobs that take turns; longer than ranks may keep each other waiting."""
    pids = collective.gather([os.getpid(), *(children() if watchers_too else [])])
    if collective.world.is_main:
        words = [str(1.5 * timeout_s), *(str(pid) for of_rank in pids for pid in of_rank)]
        subprocess.Popen([sys.executable, "-c", _SUSPEND, *words], start_new_session=True)
        time.sleep(0.3)


def main() -> None:
    mode, timeout_s, logs = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    world = from_environment()
    collective = connect(world, "cpu", timeout_s, logs)
    print(*children(), flush=True)
    for number in range(1, EXCHANGES + 1):
        if number == BAD and mode.startswith("suspend"):
            suspend_all(collective, timeout_s, watchers_too=mode == "suspend_with_watchers")
        elif number == BAD and world.rank == world.size - 1:
            print(f"{time.time()}", flush=True)
            MODES[mode](collective, timeout_s)
        with collective.waiting("gradients", number):
            collective.agree(False)
    collective.close()


if __name__ == "__main__":
    main()
