"""Locks between processes, on the file systems that have them."""

import contextlib
import errno
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

_POLL_S = 0.1
# Lustre mounted without `flock`, and some NFS servers. There nobody can lock, and a training
# that refused to start would be worse than one that trusts its user.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


def lock(descriptor: int, wait_s: float | None) -> bool:
    """Lock an open file until it is closed; False if another has it for longer than ``wait_s``.

    None waits forever. True as well where the file system has no locks.
    """
    deadline = None if wait_s is None else time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return True
        else:
            return True


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock on ``path`` (created where missing), waiting for it."""
    with path.open("a") as file:
        lock(file.fileno(), wait_s=None)
        yield
