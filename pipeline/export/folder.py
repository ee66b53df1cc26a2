"""A folder that is whole or absent: temporary name, fsync, rename."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.durable import TEMPORARY, sync_folder
from pipeline.errors import UserError

FILES = ("config.json", "model.safetensors", "README.md", "model.onnx", "model.onnx.data")
"""All that an export may hold."""


def check_free(path: Path, force: bool) -> None:
    """Raise UserError where ``path`` is taken; with force, only what is no export is spared."""
    if not path.exists():
        return
    if not force:
        raise UserError(f"{path} exists; replace it with --force, or name another one with --out")
    foreign = [] if not path.is_dir() else [p.name for p in path.iterdir() if p.name not in FILES]
    if foreign or not path.is_dir():
        raise UserError(
            f"--force: {path} is not an export ({', '.join(sorted(foreign)[:3]) or 'a file'}); "
            "name another folder with --out"
        )


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``path`` when the block ends well.

    Raises OSError where the file system refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)
    temporary, old = (
        path.with_name(f".{path.name}.{state}-{token}{TEMPORARY}") for state in ("new", "old")
    )
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            # safetensors lets nobody but the owner read what it writes.
            file.chmod(temporary.stat().st_mode & 0o666)
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)
    if old.exists():
        shutil.rmtree(old)
