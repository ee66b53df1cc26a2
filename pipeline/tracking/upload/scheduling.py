"""Processor time: the uploader takes what a training leaves, until that has ended."""

import contextlib
import os
from pathlib import Path

_NICENESS = 19


def step_back() -> None:
    """Run this process only while a processor would be idle, as far as the system has the means."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, PermissionError):  # another system, a container that forbids it
        os.nice(_NICENESS)
    _set_autogroup(os.getpid(), _NICENESS)


def step_forward(pid: int) -> None:
    """Undo ``step_back`` of process ``pid``, as far as this user may; nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "SCHED_IDLE"):
            # It takes a right to priorities (RLIMIT_NICE); without it idle time has to do.
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
        _set_autogroup(pid, 0)


def _set_autogroup(pid: int, niceness: int) -> None:
    """Linux may share processors out between sessions first, whatever is asked within them.

    A session of its own then has as much as the whole training beside it.
    """
    # One that began with another process, such as a shell, is not ours to slow down.
    if os.getsid(pid) != pid:
        return
    # Missing without autogroups, unwritable in some containers, and "try again" when asked twice
    # in a tenth of a second: the policy of the process is then all there is.
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
