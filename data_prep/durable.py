"""The files of OUT, whole or absent, and the one process that writes them."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline import durable
from pipeline.errors import UserError
from pipeline.log import warn

LOCK = ".shard.lock"


@contextmanager
def new_file(path: Path) -> Generator[BinaryIO]:
    """A file of OUT that is whole or absent. Raises UserError where the disk refuses it."""
    try:
        with durable.new_file(path) as file:
            yield file
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); make room or choose another OUT; "
            "the same command continues where this one stopped"
        ) from error


def write_file(path: Path, content: bytes) -> None:
    """Replace a small file durably."""
    with new_file(path) as file:
        file.write(content)


def is_temporary(name: str) -> bool:
    """Whether a file name is one that new_file leaves behind when it is killed."""
    return name.startswith(".") and name.endswith(durable.TEMPORARY)


def remove_leftovers(folder: Path) -> int:
    """Delete what killed writers left in a folder; returns how many files."""
    left = [item for item in folder.iterdir() if is_temporary(item.name)]
    for item in left:
        item.unlink(missing_ok=True)
    return len(left)


@contextmanager
def only_writer(folder: Path) -> Generator[None]:
    """Hold a folder's lock file. Raises UserError naming the process that already does."""
    path = folder / LOCK
    file = _locked(path)
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}".encode())
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _locked(path: Path) -> BinaryIO:
    while True:
        try:
            file = path.open("a+b")
        except OSError as error:
            raise UserError(
                f"OUT={path.parent} is not writable ({error.strerror}); choose another OUT"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode() or "another process"
            file.close()
            raise UserError(
                f"OUT={path.parent}: {holder} is writing there; wait for it, end it, "
                "or use another OUT"
            ) from None
        except OSError as error:
            warn(f"{path.parent} has no file locks ({error.strerror}): start only one writer there")
            return file
        # The holder before us may have removed the file between our opening and locking it.
        if path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
            return file
        file.close()
