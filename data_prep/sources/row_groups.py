"""Reading single images out of parquet files, which give row groups and nothing smaller."""

import fcntl
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.durable import new_file
from data_prep.sources.entries import Entry
from data_prep.sources.readers import Reader, readable
from data_prep.wording import printable
from pipeline.errors import DataError

_CACHED_BYTES = 256 << 20


def opened(path: str) -> Any:
    """The parquet file. Raises DataError where it is none."""
    # Only this layout pays for the import.
    import pyarrow.parquet
    from pyarrow import ArrowInvalid

    try:
        return pyarrow.parquet.ParquetFile(path)
    except ArrowInvalid as error:
        raise DataError(
            f"{printable(path)} is no parquet file ({str(error).splitlines()[0]}); "
            "download it again"
        ) from error


def images_of(path: str, file: Any, group: int) -> Any:
    """The images of a row group: an arrow array of binaries. Raises DataError where it is bad."""
    from pyarrow import ArrowException

    try:
        table = file.read_row_group(group, columns=["image.bytes"], use_threads=False)
    except (ArrowException, OSError) as error:
        raise DataError(
            f"{printable(path)}: row group {group} cannot be read ({str(error).splitlines()[0]}); "
            "download the file again"
        ) from error
    return table.column("image").combine_chunks().field("bytes")


@dataclass
class RowGroupReader:
    """Reads rows: ``container`` is the file, ``position`` the row. Keeps the last row groups."""

    paths: list[str]
    row_groups: int
    """Of all files."""
    total_bytes: int
    """Of all images."""
    _files: dict[int, Any] = field(default_factory=dict[int, Any], repr=False)
    _groups: "OrderedDict[tuple[int, int], Any]" = field(default_factory=OrderedDict, repr=False)
    _starts: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False)

    def scratch_bytes(self, images: int) -> int:
        """All images, where reading that many one by one would read row groups again and again."""
        again = images > self.row_groups and self.total_bytes > _CACHED_BYTES
        return self.total_bytes if again else 0

    def with_scratch(self, images: int, folder: Path) -> Reader:
        """Unpack first what ``scratch_bytes`` finds worth it."""
        return UnpackedReader(self.paths, folder) if self.scratch_bytes(images) else self

    def read(self, entry: Entry) -> bytes:
        """The image of a row."""
        with readable(self.paths[entry.container]):
            images, row = self._row(entry.container, entry.position)
        return images[row].as_py() or b""

    def _row(self, container: int, row: int) -> tuple[Any, int]:
        """The images of the row group that holds a row, and its place there."""
        if container not in self._files:
            self._files[container] = file = opened(self.paths[container])
            rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._starts[container] = np.cumsum([0, *rows])
        starts = self._starts[container]
        group = int(np.searchsorted(starts, row, side="right")) - 1
        key = (container, group)
        if key not in self._groups:
            self._groups[key] = images_of(self.paths[container], self._files[container], group)
            while len(self._groups) > 1 and self._held() > _CACHED_BYTES:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key], row - int(starts[group])

    def _held(self) -> int:
        return sum(images.nbytes for images in self._groups.values())

    def __getstate__(self) -> dict[str, Any]:
        empty = {"_files": {}, "_groups": OrderedDict(), "_starts": {}}
        return self.__dict__ | empty  # what is open belongs to a process


@dataclass
class UnpackedReader:
    """Reads rows from files that hold nothing but the images, unpacked once by whoever needs them.

    A shuffled shard meets nearly every row group, for one image each: reading 140 GB twice, in
    order, is a fiftieth of what reading the row groups would be.
    """

    paths: list[str]
    folder: Path
    _offsets: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False)

    def scratch_bytes(self, images: int) -> int:
        return 0

    def with_scratch(self, images: int, folder: Path) -> Reader:
        return self

    def read(self, entry: Entry) -> bytes:
        """The image of a row."""
        if not self._offsets:
            self._unpack_all()
        offsets = self._offsets_of(entry.container)
        start, stop = offsets[entry.position : entry.position + 2].tolist()
        with (
            readable(str(self._images(entry.container))),
            self._images(entry.container).open("rb", buffering=0) as file,
        ):
            return os.pread(file.fileno(), stop - start, start)

    def _unpack_all(self) -> None:
        """Do what nobody has done or is doing; each process begins elsewhere."""
        self.folder.mkdir(exist_ok=True)
        count = len(self.paths)
        for i in range(count):
            container = (i + os.getpid()) % count
            with self._alone(container, wait=False) as is_ours:
                if is_ours:
                    self._unpack(container)

    def _offsets_of(self, container: int) -> NDArray[np.int64]:
        if container not in self._offsets:
            with self._alone(container, wait=True):
                self._unpack(container)
            self._offsets[container] = np.load(self._index(container))
        return self._offsets[container]

    def _unpack(self, container: int) -> None:
        if self._index(container).exists():
            return
        lengths: list[int] = []
        with readable(self.paths[container]):
            file = opened(self.paths[container])
            with new_file(self._images(container)) as target:
                for group in range(file.num_row_groups):
                    for image in images_of(self.paths[container], file, group):
                        lengths.append(target.write(image.as_py() or b""))
        with new_file(self._index(container)) as target:
            np.save(target, np.cumsum([0, *lengths]))

    def _images(self, container: int) -> Path:
        return self.folder / f"{container:05d}.images"

    def _index(self, container: int) -> Path:
        return self.folder / f"{container:05d}.npy"

    @contextmanager
    def _alone(self, container: int, wait: bool) -> Iterator[bool]:
        """Hold a file's lock; False where another process does and we do not wait."""
        with (self.folder / f"{container:05d}.lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            except OSError:  # no locks here: the worst is that two unpack the same file
                pass
            yield True

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_offsets": {}}
