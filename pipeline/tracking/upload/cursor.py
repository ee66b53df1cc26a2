"""How far the upload of a run has come, kept in its folder; losing it costs time, never data."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from pipeline.log import warn
from pipeline.tracking.run_folder import read_json, write_json
from pipeline.tracking.upload.mlflow_store import StoreUnavailable

_CHECK_BYTES = 256
_FORMAT = 2


class FolderUnwritable(StoreUnavailable):
    """The run folder does not take what the upload must write there; room may be made."""


@contextlib.contextmanager
def writing(what: Path) -> Iterator[None]:
    """Turns what the file system refuses in the block into FolderUnwritable."""
    try:
        yield
    except OSError as error:
        where = error.filename or what
        raise FolderUnwritable(
            f"{where}: {error.strerror or error}; the upload goes on where it was once this file "
            "can be written: make room, or see to its owner and mode"
        ) from None


@dataclass(frozen=True)
class FileMark:
    """A file as it was sent; size and time tell cheaply that it has not changed since."""

    size_bytes: int
    mtime_ns: int
    sha256: str


@dataclass
class Cursor:
    """What one store has of one run, as far as it is known here."""

    uri: str
    run_id: str
    offset: int = 0
    """Bytes of the journal."""
    check: str = ""
    """Tells the journal before ``offset`` from another one."""
    files: dict[str, FileMark] = field(default_factory=dict[str, FileMark])
    """Artifacts, by their path in the store."""
    models: dict[str, str] = field(default_factory=dict[str, str])
    """Ids of the logged models, by key."""
    models_check: str = ""
    """Digest of the best checkpoints as the store has them."""
    model_files: list[str] = field(default_factory=list[str])
    """Keys of the models that have their file."""
    note_check: str = ""
    """What the note was last written for."""
    curves_offset: int = 0
    """How much of the journal the pictures of the curves show, in bytes."""

    @classmethod
    def read(cls, path: Path, uri: str, run_id: str, journal: Path) -> "Cursor":
        """The cursor of this store, run and journal; a fresh one where there is none."""
        fresh = cls(uri, run_id)
        try:
            kept = read_json(path)
            if kept.pop("format", None) != _FORMAT:
                return fresh
            cursor = cls._parse(kept, path)
        except DataError as error:
            warn(f"{error}; all is sent again, which doubles nothing")
            return fresh
        if (cursor.uri, cursor.run_id) != (uri, run_id):
            return fresh
        if cursor.check != journal_check(journal, cursor.offset):
            cursor.offset = 0
        return cursor

    @classmethod
    def _parse(cls, kept: dict[str, Any], path: Path) -> "Cursor":
        try:
            kept["files"] = {name: FileMark(**mark) for name, mark in kept["files"].items()}
            cursor = cls(**kept)
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(f"{path}: no cursor of this version ({error})") from None
        for name, empty in vars(cls("", "")).items():
            value = getattr(cursor, name)
            if type(value) is not type(empty) or (isinstance(value, int) and value < 0):
                raise DataError(f"{path}: {name}={value!r} is no {type(empty).__name__} from 0 on")
        return cursor

    def move(self, journal: Path, offset: int) -> None:
        """All before ``offset`` has been sent."""
        self.offset, self.check = offset, journal_check(journal, offset)

    def write(self, path: Path) -> None:
        """Replace the file. Raises FolderUnwritable."""
        with writing(path):
            write_json(path, {"format": _FORMAT} | asdict(self))


def journal_check(journal: Path, offset: int) -> str:
    """Digest of the journal's last bytes before ``offset``."""
    start = max(0, offset - _CHECK_BYTES)
    with journal.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(offset - start)).hexdigest()


def sync_file(path: Path) -> None:
    """What the store has must never be lost by the journal, or a restart would double it."""
    with writing(path), path.open("rb") as file:
        os.fsync(file.fileno())
