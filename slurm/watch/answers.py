"""What Slurm answered, shared for some seconds by all commands of a user; kept on disk."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.durable import write_file
from pipeline.tracking.locks import lock

_OLD_S = 3600
"""Answers that are older are deleted."""
_LOCK_WAIT_S = 20.0
"""Longer than any question takes: whoever has the lock for longer hangs."""


def cache_folder() -> Path:
    """Where a user's commands keep what may be lost: in ~/.cache, or under $XDG_CACHE_HOME."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).expanduser() / "imagenet-pipeline"


def recall(question: str, ask: Callable[[], Any], kept_s: float) -> Any:
    """The answer to a question, a JSON value: a kept one of at most ``kept_s``, else ``ask()``.

    Where several commands ask at the same time, one does, and the others wait for its answer.
    Without a place to keep answers, each asks.
    """
    path = _path(question)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.with_suffix(".lock").open("a")
    except OSError:
        return ask()
    with opened:
        lock(opened.fileno(), _LOCK_WAIT_S)
        kept = _read(path)
        # Not one from the future either: clocks are set back.
        if kept is not None and 0 <= time.time() - kept["at_s"] < kept_s:
            return kept["answer"]
        answer = ask()
        with contextlib.suppress(OSError):  # a full disk: the next command asks again
            text = json.dumps({"at_s": time.time(), "answer": answer})
            write_file(path, text.encode(), survives_power_loss=False)
            for old in _outdated(path.parent):
                old.unlink(missing_ok=True)
        return answer


def forget(question: str) -> None:
    """Have the next command ask again."""
    with contextlib.suppress(OSError):
        _path(question).unlink(missing_ok=True)


def _path(question: str) -> Path:
    # Another cluster has other answers.
    cluster = [os.environ.get(name, "") for name in ("SLURM_CONF", "SLURM_CLUSTERS", "PATH")]
    key = hashlib.sha256("\0".join([question, str(os.getuid()), *cluster]).encode()).hexdigest()
    return cache_folder() / "slurm" / f"{key[:16]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _outdated(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if time.time() - path.stat().st_mtime > _OLD_S:
            yield path
