"""The candidates of a split, held in columns: 1.28 million of them in about 100 MB."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.wording import named, plural
from pipeline.errors import DataError

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One candidate image of a split."""

    class_name: str
    name: str
    """``<class>/<file>``, unique in the split and equal in every layout:
    ``n01440764/n01440764_10026.JPEG``."""
    bytes: int
    """Size of the file; where only reading it would tell, an estimate."""
    container: int = 0
    """Number of the file that holds the image, where a file holds several, and ..."""
    position: int = 0
    """... where in it, as the layout's reader counts."""


@dataclass(frozen=True, eq=False)
class Entries:
    """(N,) entries."""

    classes: list[str]
    """Names that ``class_indices`` point to, sorted."""
    class_indices: NDArray[np.int32]
    names: NDArray[np.bytes_]
    """As the file system spells them."""
    sizes: NDArray[np.int64]
    containers: NDArray[np.int32]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Entry:
        return Entry(
            self.classes[self.class_indices[index]],
            decoded(self.names[index]),
            int(self.sizes[index]),
            int(self.containers[index]),
            int(self.positions[index]),
        )

    def each_name(self) -> Iterator[tuple[str, str]]:
        """Class and name of each entry, without holding all of them as text."""
        for start in range(0, len(self), _CHUNK):
            part = slice(start, start + _CHUNK)
            classes, names = self.class_indices[part].tolist(), self.names[part].tolist()
            for number, name in zip(classes, names, strict=True):
                yield self.classes[number], decoded(name)

    @property
    def total_bytes(self) -> int:
        return int(self.sizes.sum())

    @property
    def class_counts(self) -> dict[str, int]:
        """Class name -> entries, also of classes that have none."""
        counts = np.bincount(self.class_indices, minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))


def pack(found: Sequence[Entry], classes: Iterable[str] = ()) -> Entries:
    """Entries in columns, in the order given; ``classes``: those that may have none."""
    every = sorted({*classes, *(entry.class_name for entry in found)})
    number = {name: i for i, name in enumerate(every)}
    names = [encoded(entry.name) for entry in found]
    return Entries(
        every,
        np.array([number[entry.class_name] for entry in found], np.int32),
        np.array(names, np.bytes_) if names else np.empty(0, "S1"),
        np.array([entry.bytes for entry in found], np.int64),
        np.array([entry.container for entry in found], np.int32),
        np.array([entry.position for entry in found], np.int64),
    )


def join(parts: Sequence[Entries]) -> Entries:
    """One listing of several, sorted by name. Raises DataError where two have the same name."""
    classes = sorted({name for part in parts for name in part.classes})
    number = {name: i for i, name in enumerate(classes)}
    names = np.concatenate([part.names for part in parts])
    order = np.argsort(names, kind="stable")
    names = names[order]
    _refuse_duplicates(names)
    renumbered = [
        np.array([number[name] for name in part.classes], np.int32)[part.class_indices]
        for part in parts
    ]
    return Entries(
        classes,
        np.concatenate(renumbered)[order],
        names,
        np.concatenate([part.sizes for part in parts])[order],
        np.concatenate([part.containers for part in parts])[order],
        np.concatenate([part.positions for part in parts])[order],
    )


def encoded(name: str) -> bytes:
    """A file name as the file system spells it."""
    return name.encode(errors="surrogateescape")


def decoded(name: bytes) -> str:
    """A file name as Python spells it."""
    return name.decode(errors="surrogateescape")


def _refuse_duplicates(names: NDArray[np.bytes_]) -> None:
    twice = np.unique(names[1:][names[1:] == names[:-1]])
    if len(twice):
        listed = named(decoded(name) for name in twice.tolist())
        raise DataError(
            f"SOURCE holds {plural(len(twice), 'image')} more than once under the same name: "
            f"{listed}; remove the copies"
        )
