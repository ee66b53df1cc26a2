"""Carries a run's files to the store: its artifacts, its config, pictures of its curves."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.log import warn
from pipeline.redact import redact
from pipeline.tracking.journal import read_journal
from pipeline.tracking.run_folder import RunFolder
from pipeline.tracking.upload.batch import gather, sendable
from pipeline.tracking.upload.best_models import FILE_NAME, checkpoint_json, model_key
from pipeline.tracking.upload.cursor import Cursor, FileMark
from pipeline.tracking.upload.curves import pictures
from pipeline.tracking.upload.facts import RunFacts
from pipeline.tracking.upload.mlflow_store import MlflowStore, StoreRefused, StoreUnavailable

CURVES_EVERY_S = 300.0
"""Between two makings of the pictures while the run is at work, in seconds."""
_CURVES_SHARE = 0.01
"""Of the uploader's time that the pictures may take while the run is at work."""

# A store of artifacts that hangs must not keep metrics waiting again and again.
_RETRY_FIRST_S = 5.0
_RETRY_MOST_S = 300.0


class RunFiles:
    """The files of one run. ``clock`` gives seconds."""

    def __init__(
        self,
        folder: RunFolder,
        store: MlflowStore,
        cursor: Cursor,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._folder, self._store, self._cursor, self._clock = folder, store, cursor, clock
        self._failed: set[str] = set()
        self._unreadable: set[str] = set()
        self._failures = 0
        self._next_try_s = clock()
        self._next_curves_s = clock() + CURVES_EVERY_S

    def send(self, facts: RunFacts, run_key: str, run_name: str, is_over: bool) -> None:
        """Everything that is new or has changed. The caller writes the cursor, come what may.

        ``is_over``: the run is not at work, so that nothing is put off. Raises StoreUnavailable
        or StoreRefused at the first file that is not taken, which is the last one next time.
        """
        if not is_over and self._clock() < self._next_try_s:
            return
        try:
            for name, content, mark in sorted(
                self._changed(), key=lambda file: (file[0] in self._failed, file[0])
            ):
                self._send(name, content, mark)
            self._send_model_files(facts, run_key)
            if is_over or self._clock() >= self._next_curves_s:
                self._send_curves(run_name)
        except (StoreRefused, StoreUnavailable):
            pause_s = min(_RETRY_FIRST_S * 2**self._failures, _RETRY_MOST_S)
            self._failures += 1
            self._next_try_s = self._clock() + pause_s
            raise
        self._failures = 0

    def _changed(self) -> Iterator[tuple[str, bytes, FileMark]]:
        for name, path in self._on_disk():
            try:
                stat = path.stat()
                known = self._cursor.files.get(name)
                if known and (known.size_bytes, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                    continue
                content = path.read_bytes()
            except FileNotFoundError:
                continue  # replaced just now; the next round finds it
            except OSError as error:
                if name not in self._unreadable:
                    warn(f"{path} cannot be read ({error.strerror}); it is not uploaded")
                self._unreadable.add(name)
                continue
            mark = FileMark(stat.st_size, stat.st_mtime_ns, hashlib.sha256(content).hexdigest())
            if known and known.sha256 == mark.sha256:
                self._cursor.files[name] = mark
            else:
                yield name, content, mark

    def _on_disk(self) -> Iterator[tuple[str, Path]]:
        """Files by their path in the store; links may lead out of the run and are left out."""
        if self._folder.config.is_file():
            yield self._folder.config.name, self._folder.config
        root = self._folder.artifacts
        for path in root.rglob("*"):
            # Half-written ones start with a dot.
            if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                yield path.relative_to(root).as_posix(), path

    def _send(self, name: str, content: bytes, mark: FileMark) -> None:
        try:
            self._store.log_file(self._cursor.run_id, _redacted(content), sendable(name))
        except (StoreRefused, StoreUnavailable) as error:
            self._failed.add(name)
            raise type(error)(f"artifact {name}: {error}") from None
        self._failed.discard(name)
        self._cursor.files[name] = mark

    def _send_model_files(self, facts: RunFacts, run_key: str) -> None:
        for checkpoint in facts.checkpoints.values():
            key = model_key(run_key, checkpoint)
            model_id = self._cursor.models.get(key)
            if model_id is not None and key not in self._cursor.model_files:
                content = checkpoint_json(checkpoint, facts, self._folder)
                self._store.log_model_file(model_id, content, FILE_NAME)
                self._cursor.model_files.append(key)

    def _send_curves(self, run_name: str) -> None:
        """From the journal as far as it has been sent, read again: most runs draw them once."""
        offset = self._cursor.offset
        if self._cursor.curves_offset == offset:
            return
        began_s = self._clock()
        points = gather(read_journal(self._folder.journal, max_bytes=offset).records).points
        for name, text in pictures(points, run_name).items():
            content = text.encode()
            mark = FileMark(len(content), 0, hashlib.sha256(content).hexdigest())
            if self._cursor.files.get(name) != mark:
                self._send(name, content, mark)
        self._cursor.curves_offset = offset
        took_s = self._clock() - began_s
        self._next_curves_s = self._clock() + max(CURVES_EVERY_S, took_s / _CURVES_SHARE)


def _redacted(content: bytes) -> bytes:
    """A text, of whatever encoding, without its secrets; anything else as it is."""
    if b"\0" in content:
        return content
    return redact(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")
