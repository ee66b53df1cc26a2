"""Files that are whole or absent: temporary name, fsync, rename, fsync of the folder."""

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp"


@contextmanager
def new_file(path: Path, survives_power_loss: bool = True) -> Generator[BinaryIO]:
    """A file that appears at ``path`` when the block ends well, and never otherwise.

    The temporary name is this writer's own: a stray process cannot rename another's half.
    Raises OSError where the file system refuses (full, read-only).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            if survives_power_loss:
                os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if survives_power_loss:
        sync_folder(path.parent)


def write_file(path: Path, content: bytes, survives_power_loss: bool = True) -> None:
    """Replace a small file: a reader, or a crash, sees the old or the new one, never a part."""
    with new_file(path, survives_power_loss) as file:
        file.write(content)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
