"""Reading single images: files below a folder, and ranges of larger files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from data_prep.sources.entries import Entry
from data_prep.wording import printable
from pipeline.errors import DataError

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
"""Ends of names, in lower case, that make a file a candidate; the decoder judges the inside."""
NOT_AN_IMAGE = f"not an image: its name ends in none of {', '.join(IMAGE_SUFFIXES)}"

_OPEN_FILES = 64


class Reader(Protocol):
    """Reads entries; picklable, so that any worker on any node can use it."""

    def read(self, entry: Entry) -> bytes:
        """The file's bytes. Raises DataError where it is not what the listing said."""
        ...

    def scratch_bytes(self, images: int) -> int:
        """Room on disk that reading so many entries takes beside OUT's."""
        ...

    def with_scratch(self, images: int, folder: Path) -> "Reader":
        """The reader to use for so many entries, which may unpack into a folder."""
        ...


class _ReadsInPlace:
    def scratch_bytes(self, images: int) -> int:
        return 0

    def with_scratch(self, images: int, folder: Path) -> Any:
        return self


def is_candidate(name: str) -> bool:
    """Whether a file name is that of an image."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.rpartition("/")[2].startswith(".")


@dataclass(frozen=True)
class FolderReader(_ReadsInPlace):
    """Reads entries that are files of their own."""

    root: str
    is_flat: bool = False
    """Whether the files lie in ``root`` itself, not in class folders below it."""

    def read(self, entry: Entry) -> bytes:
        name = entry.name.rpartition("/")[2] if self.is_flat else entry.name
        path = f"{self.root}/{name}"
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                # One byte more than expected tells a file that has grown.
                data = os.read(descriptor, entry.bytes + 1)
                while 0 < len(data) < entry.bytes and (more := os.read(descriptor, 1 << 24)):
                    data += more
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unreadable(path, error) from error
        if len(data) != entry.bytes:
            raise DataError(
                f"{printable(path)} had {entry.bytes} bytes when SOURCE was listed and now has "
                f"{'more' if len(data) > entry.bytes else len(data)}; leave SOURCE alone while "
                "sharding, or use another OUT"
            )
        return data


@dataclass
class RangeReader(_ReadsInPlace):
    """Reads entries that are ranges of files: ``container`` is the file, ``position`` a byte."""

    paths: list[str]
    _open: dict[int, int] = field(default_factory=dict[int, int], repr=False)

    def read(self, entry: Entry) -> bytes:
        path = self.paths[entry.container]
        with readable(path):
            data = os.pread(self._descriptor(entry.container), entry.bytes, entry.position)
        if len(data) != entry.bytes:
            raise DataError(
                f"{printable(path)} ends inside {printable(entry.name)}; leave SOURCE alone while "
                "sharding, or use another OUT"
            )
        return data

    def _descriptor(self, container: int) -> int:
        if container not in self._open:
            if len(self._open) >= _OPEN_FILES:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[container] = os.open(self.paths[container], os.O_RDONLY)
        return self._open[container]

    def __getstate__(self) -> dict[str, object]:
        return {"paths": self.paths, "_open": {}}  # descriptors belong to a process


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Turn what the file system says about a file of SOURCE into a DataError."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: OSError) -> DataError:
    """What to say of a file of SOURCE that the file system does not give."""
    return DataError(
        f"{printable(path)} cannot be read ({error.strerror or error}); make it readable, then run "
        "the same command again to continue"
    )
