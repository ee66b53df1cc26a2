"""The code that a job runs: copied at submission, so that later edits do not reach it."""

import hashlib
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

from pipeline.durable import write_file
from pipeline.tracking.origin import LOCK, origin_of, write_origin

_PACKAGES = ("pipeline", "slurm", "data_prep")
_ROOT = Path(__file__).resolve().parents[2]


def snapshot_folder(folder: Path) -> Path:
    """Where the code as it is now belongs: ``folder/<hash>``. Nothing is written."""
    digest = hashlib.sha256()
    for path in _files():
        digest.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes())
    return folder.absolute() / digest.hexdigest()[:12]


def take_snapshot(target: Path) -> None:
    """Copy the code to ``target``, unless an earlier submission has done so.

    Where it comes from is noted anew: the same code may have been committed since.
    """
    if not target.is_dir():
        _copy_to(target)
    write_origin(target, replace(origin_of(_ROOT), snapshot=target.name))
    if (_ROOT / LOCK).is_file():
        write_file(target / LOCK, (_ROOT / LOCK).read_bytes())


def _copy_to(target: Path) -> None:
    # Of its own: another launch may be taking the same one.
    temporary = target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    for path in _files():
        copy = temporary / path.relative_to(_ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    try:
        temporary.rename(target)
    except OSError:
        shutil.rmtree(temporary)
        if not target.is_dir():
            raise


def _files() -> list[Path]:
    return sorted(
        path
        for package in _PACKAGES
        for path in (_ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )
