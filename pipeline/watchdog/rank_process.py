"""A rank as its watcher sees it from outside: state, load, and the stack that it is asked for."""

import ctypes
import os
import signal
import time
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_POLL_S = 0.005
_SETTLED_S = 0.03
_LIBC = ctypes.CDLL(None)
_TGKILL = {"x86_64": 234, "aarch64": 131}.get(os.uname().machine)
"""System call that signals one thread; older C libraries have no function for it."""


class RankProcess:
    """stack_fd: the file into which faulthandler writes on SIGUSR1."""

    def __init__(self, pid: int, stack_fd: int):
        self._pid, self._stack_fd = pid, stack_fd
        self._proc = Path(f"/proc/{pid}")

    @property
    def state(self) -> str:
        """One letter, as ps shows it; X once it is gone."""
        return _stat(self._proc)[0]

    def load(self, over_s: float) -> tuple[float, tuple[str, ...]]:
        """Percent of a CPU, and the threads in an uninterruptible wait all that time."""
        blocked, before_s, began_s = self._blocked(), self._cpu_s, time.monotonic()
        time.sleep(over_s)
        load_pct = 100 * (self._cpu_s - before_s) / (time.monotonic() - began_s)
        still = self._blocked()
        return load_pct, tuple(text for tid, text in blocked.items() if tid in still)

    def stop(self, timeout_s: float) -> tuple[str, ...]:
        """Stop it where it is: the lines of all Python threads; none where it does not answer.

        One that is stopped already has to run for milliseconds to answer.
        """
        start = os.fstat(self._stack_fd).st_size
        # To the main thread: else another one could answer while it goes on.
        self._ask(self._pid)
        os.kill(self._pid, signal.SIGCONT)
        end = self._answered(start, timeout_s / 2)
        if end == start:
            # It may be unable to; any other thread can answer for all.
            self._ask_another_thread()
            end = self._answered(start, timeout_s / 2)
        os.kill(self._pid, signal.SIGSTOP)
        text = os.pread(self._stack_fd, end - start, start)
        return tuple(text.decode(errors="replace").splitlines())

    def kill(self) -> None:
        """End it at once."""
        os.kill(self._pid, signal.SIGKILL)

    @property
    def _cpu_s(self) -> float:
        fields = _stat(self._proc)
        return sum(map(int, fields[11:13])) / _TICKS_PER_S

    def _answered(self, start: int, timeout_s: float) -> int:
        """Size of the file of stacks once it has grown and settled, or the time is up."""
        deadline = time.monotonic() + timeout_s
        size, since = start, time.monotonic()
        while time.monotonic() < deadline:
            time.sleep(_POLL_S)
            now = os.fstat(self._stack_fd).st_size
            if now != size:
                size, since = now, time.monotonic()
            elif size > start and time.monotonic() - since > _SETTLED_S:
                break
        return size

    def _ask_another_thread(self) -> None:
        for task in self._tasks():
            if task.name != str(self._pid) and _stat(task)[0] != "D":
                return self._ask(int(task.name))

    def _ask(self, thread: int) -> None:
        if _TGKILL is None:
            os.kill(self._pid, signal.SIGUSR1)
        else:
            _LIBC.syscall(_TGKILL, self._pid, thread, signal.SIGUSR1)

    def _blocked(self) -> dict[str, str]:
        return {
            task.name: f"thread {_read(task / 'comm')} is in the kernel's {_read(task / 'wchan')}"
            for task in self._tasks()
            if _stat(task)[0] == "D"
        }

    def _tasks(self) -> list[Path]:
        try:
            return list((self._proc / "task").iterdir())
        except OSError:
            return []  # it is gone


def _stat(process: Path) -> list[str]:
    """The fields of /proc/PID/stat from the state on, or those of a process that is gone."""
    _, _, fields = _read(process / "stat").rpartition(")")
    return fields.split() or ["X", *["0"] * 20]


def _read(path: Path) -> str:
    """Empty where the process is gone, or the kernel does not tell."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
