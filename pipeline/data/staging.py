"""Copies shards to a node's own disk while training reads the originals, which stay the fallback.

A copy gets its name when it is whole, hashed against the manifest on its way. Readers of any rank
on the node take it from then on, see ShardSplit.tar_place. The folder is named after the hashes
of the shards, so every later job with the same ones uses what lies there.
"""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from pipeline.durable import TEMPORARY, new_file
from pipeline.log import duration, info, warn
from pipeline.shards import ShardEntry, ShardSplit, repair_command

_SPARE_BYTES = 1 << 30
"""Left free for others."""
_CHUNK_BYTES = 8 << 20
_LOCK = ".staging.lock"


def stage(folder: str | None, splits: Sequence[ShardSplit], copies: bool) -> None:
    """Let the splits use whole copies in ``folder``, where ``$NAME`` is expanded; None: none.

    ``copies``: this process makes them in the background, one after the other; one per node does.
    What goes wrong there is a warning, and training reads the originals.
    """
    if folder is None:
        return
    place = Path(os.path.expandvars(folder))
    for split in splits:
        split.staged = place / f"{split.dataset}-{split.split}-{split.digest[:16]}"
    if copies:
        # A daemon: the end of the training does not wait for it.
        Thread(target=_stage, args=(place, splits), name="staging", daemon=True).start()


class _CannotStage(Exception):
    """Why, and what helps."""


def _stage(folder: Path, splits: Sequence[ShardSplit]) -> None:
    began = time.monotonic()
    try:
        with _only_copier(folder):
            todo = [(split, entry) for split in splits for entry in _missing(split)]
            size = sum(entry.bytes for _, entry in todo)
            _check_space(folder, size)
            for split, entry in todo:
                _copy(split, entry)
    except (OSError, _CannotStage) as error:
        warn(
            f"data.stage_to={folder}: {error}; training goes on and reads what is not staged "
            f"from {splits[0].root}; to stop asking, set data.stage_to=null"
        )
        return
    if todo:
        took = duration(time.monotonic() - began)
        info(f"staged {len(todo)} shards, {size / 1e9:.1f} GB, in {folder} in {took}")


@contextmanager
def _only_copier(folder: Path) -> Generator[None]:
    """Where another job on the node copies, wait for its end, and then do what is left."""
    if "$" in str(folder):
        raise _CannotStage("the variable is not set on this node")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _missing(split: ShardSplit) -> list[ShardEntry]:
    """The shards without a copy. What a killed copier left goes: nobody else is at work."""
    assert split.staged is not None
    split.staged.mkdir(exist_ok=True)
    for left in split.staged.glob(f".*{TEMPORARY}"):
        left.unlink()
    return [entry for k, entry in enumerate(split.manifest.shards) if split.staged_tar(k) is None]


def _check_space(folder: Path, needed: int) -> None:
    short = needed + _SPARE_BYTES - shutil.disk_usage(folder).free
    if needed and short > 0:
        raise _CannotStage(
            f"the missing shards are {needed / 1e9:.1f} GB, and {short / 1e9:.1f} GB of room are "
            f"lacking (1 GiB stays free); make room, or use a larger disk"
        )


def _copy(split: ShardSplit, entry: ShardEntry) -> None:
    assert split.staged is not None
    original = split.root / entry.name
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with original.open("rb", buffering=0) as tar, new_file(split.staged / entry.name) as copy:
        while count := tar.readinto(buffer):
            digest.update(buffer[:count])
            copy.write(buffer[:count])
        if digest.hexdigest() != entry.sha256:
            raise _CannotStage(
                f"{original} has sha256 {digest.hexdigest()[:12]}, the manifest says "
                f"{entry.sha256[:12]}: it is damaged, and training reads it; repair it: "
                f"`{repair_command(split.root)}`"
            )
