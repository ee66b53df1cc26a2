"""What a checkpoint is on disk, and when it counts.

``step-0000123/`` holds ``state-RR.safetensors`` (fp32 ``master/<name>``, ``exp_avg/<name>``, ...;
which rank wrote what does not matter), ``buffers.safetensors``, ``progress.json``, and
``COMMITTED``, the list of the others with sizes and sha256. Nothing else in it is ever opened.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.checkpoint.progress import Progress, progress_from
from pipeline.durable import sync_folder, write_file
from pipeline.errors import DataError, UserError
from pipeline.log import warn

Listing = dict[str, dict[str, int | str]]
"""By file name: its size as ``bytes``, and its ``sha256``."""

TEMPORARY = ".tmp"
COMMITTED = "COMMITTED"
"""Written last: a folder without it does not count."""
_PROGRESS = "progress.json"
_BUFFERS = "buffers.safetensors"
_STEP = re.compile(r"step-(\d{8,})")
_STATE = re.compile(r"state-\d{2,}\.safetensors")


def step_folders(root: Path) -> list[Path]:
    """Folders named like checkpoints, oldest first; they may be broken."""
    found = [path for path in root.iterdir() if _STEP.fullmatch(path.name)]
    return sorted(found, key=step_of)


def committed(root: Path) -> list[Path]:
    """Folders that have their mark and progress as written; tensors are not looked at."""
    return [folder for folder in step_folders(root) if _has_its_progress(folder)]


def step_of(folder: Path) -> int:
    """The step that a checkpoint's folder is named after."""
    match = _STEP.fullmatch(folder.name)
    assert match is not None
    return int(match[1])


def name_of(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"step-{step:08d}"


def write_state(folder: Path, rank: int, tensors: Mapping[str, Tensor]) -> Listing:
    """Write one rank's share; returns its entry in the list. Raises OSError."""
    return _write_tensors(folder / f"state-{rank:02d}.safetensors", tensors)


def commit(
    temporary: Path,
    final: Path,
    shares: Listing,
    buffers: Mapping[str, Tensor],
    progress: Progress,
) -> None:
    """Add what is no rank's share and the list of all; the rename is the commit. Raises OSError."""
    write_file(temporary / _PROGRESS, json.dumps(asdict(progress), indent=1).encode())
    files = shares | _write_tensors(temporary / _BUFFERS, buffers) | _entry(temporary / _PROGRESS)
    write_file(temporary / COMMITTED, json.dumps(files, indent=1, sort_keys=True).encode())
    old = _leftover_of(final)
    if final.exists():
        # One that did not count, or this would not be written; out of the way, not deleted yet.
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
    temporary.rename(final)
    sync_folder(final.parent)
    # What belongs to someone else may stay: the checkpoint is there.
    shutil.rmtree(old, ignore_errors=True)


def remove(folder: Path) -> None:
    """Delete a checkpoint, which a kill leaves whole or as a leftover. Raises OSError."""
    old = _leftover_of(folder)
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    shutil.rmtree(old)


def problem(folder: Path) -> str | None:
    """Why a checkpoint does not count; None if it is whole."""
    try:
        return _foreign(folder) or _damage(folder)
    except OSError as error:
        return f"it cannot be read ({error.strerror}: {Path(error.filename or folder).name})"


def read_progress(folder: Path) -> Progress:
    """The progress of a whole checkpoint."""
    return progress_from(json.loads((folder / _PROGRESS).read_text()))


def read_buffers(folder: Path) -> dict[str, Tensor]:
    """The buffers of a whole checkpoint, by name."""
    with safe_open(folder / _BUFFERS, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


class StateFiles:
    """The tensors of a whole checkpoint by ``<kind>/<parameter>``, read when asked for."""

    def __init__(self, folder: Path):
        self._files = {}
        for name in sorted(_listed(folder)):
            if _STATE.fullmatch(name):
                file = safe_open(folder / name, framework="pt")
                self._files |= dict.fromkeys(file.keys(), file)

    def names(self) -> frozenset[str]:
        return frozenset(self._files)

    def read(self, name: str) -> Tensor:
        """fp32, on the host."""
        return self._files[name].get_tensor(name)


def read_weights(folder: Path, *kinds: str) -> dict[str, Tensor]:
    """The model's state dict, fp32: of each parameter the first kind that there is; and buffers.

    Raises DataError where the checkpoint does not count.
    """
    reason = problem(folder)
    if reason is not None:
        raise DataError(f"checkpoint {folder}: {reason}; name another one")
    files = StateFiles(folder)
    found = {
        name.partition("/")[2]: name
        for kind in reversed(kinds)
        for name in sorted(files.names())
        if name.startswith(f"{kind}/")
    }
    weights = {parameter: files.read(name) for parameter, name in found.items()}
    return weights | read_buffers(folder)


def find_checkpoint(root: Path, which: str) -> Path:
    """The ``best``, ``last`` or numbered checkpoint of a run, by its ``checkpoints`` folder.

    One that does not count is named in a warning. Raises UserError where there is none of that
    name, with those there are.
    """
    whole: list[Path] = []
    for folder in step_folders(root) if root.is_dir() else []:
        reason = problem(folder)
        if reason is None:
            whole.append(folder)
        else:
            warn(f"checkpoint {folder} is skipped: {reason}")
    if not whole:
        raise UserError(f"{root}: no whole checkpoint there; train first, or name another run")
    if which == "last":
        return whole[-1]
    if which == "best":
        return best_of(whole)
    by_step = {str(step_of(folder)): folder for folder in whole}
    if which not in by_step:
        raise UserError(f"{root}: no checkpoint {which!r}; use best, last or {', '.join(by_step)}")
    return by_step[which]


def best_of(folders: list[Path]) -> Path:
    """The one with the highest top-1, the first of equals; the last where none was evaluated."""
    scores = {folder: read_progress(folder).top1 for folder in folders}
    scored = [folder for folder in folders if scores[folder] is not None]
    if not scored:
        return folders[-1]
    return max(scored, key=lambda folder: (scores[folder] or 0.0, -folders.index(folder)))


def _leftover_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.old{TEMPORARY}")


def _foreign(folder: Path) -> str | None:
    """Someone else's files among a run's are not what the run has written."""
    owners = {os.geteuid(), folder.parent.stat().st_uid}
    for path in (folder, *sorted(folder.iterdir())):
        owner = path.lstat().st_uid
        if owner not in owners:
            return f"{path.name} belongs to user {owner}, not to the run's; chown it if it is right"
    return None


def _damage(folder: Path) -> str | None:
    try:
        files = _listed(folder)
    except FileNotFoundError:
        return f"{COMMITTED} is missing"
    except ValueError as error:
        return f"{COMMITTED} is damaged ({error})"
    for name, facts in files.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            return f"{name} is missing"
        if path.stat().st_size != facts["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {facts['bytes']}"
        if _sha256(path) != facts["sha256"]:
            return f"{name} differs from its sha256"
    return None


def _has_its_progress(folder: Path) -> bool:
    try:
        listed, found = _listed(folder), _entry(folder / _PROGRESS)
        return _foreign(folder) is None and listed[_PROGRESS] == found[_PROGRESS]
    except (OSError, ValueError):
        return False


def _listed(folder: Path) -> Listing:
    """The files of a checkpoint. Raises ValueError where the list is not one of ours."""
    files = json.loads((folder / COMMITTED).read_text())
    if not isinstance(files, dict) or not {_PROGRESS, _BUFFERS} < files.keys():
        raise ValueError("no list of a checkpoint's files")
    for name, facts in files.items():
        if not _STATE.fullmatch(name) and name not in (_PROGRESS, _BUFFERS):
            raise ValueError(f"{name} is no file of a checkpoint")
        if not isinstance(facts, dict) or not {"bytes", "sha256"} <= facts.keys():
            raise ValueError(f"{name} lacks size or sha256")
    return files


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Listing:
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from None
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _entry(path)


def _entry(path: Path) -> Listing:
    return {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
