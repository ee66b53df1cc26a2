"""Files that are whole or absent: temporary name, fsync, rename, fsync of the folder."""

import fcntl
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import UserError
from pipeline.log import warn

LOCK = ".shard.lock"
_TEMPORARY = ".tmp"


@contextmanager
def new_file(path: Path) -> Generator[BinaryIO]:
    """A file that appears at ``path`` when the block ends well, and never otherwise.

    The temporary name is this writer's own: a stray process cannot rename another's half.
    Raises UserError where the file system refuses (full, read-only).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written ({error.strerror}); make room or choose another OUT; "
            "the same command continues where this one stopped"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_file(path: Path, content: bytes) -> None:
    """Replace a small file durably."""
    with new_file(path) as file:
        file.write(content)


def is_temporary(name: str) -> bool:
    """Whether a file name is one that new_file leaves behind when it is killed."""
    return name.startswith(".") and name.endswith(_TEMPORARY)


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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
