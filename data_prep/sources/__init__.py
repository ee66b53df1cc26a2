"""Where images come from: one file per layout, all giving the same listing and reader."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.shards import Quarantined


@dataclass(frozen=True, slots=True)
class Entry:
    """One candidate image of a split."""

    class_name: str
    name: str
    """Original relative name, unique in the split: ``n01440764/n01440764_10026.JPEG``."""
    bytes: int


class Reader(Protocol):
    """Reads entries; picklable, so that any worker on any node can use it."""

    def read(self, entry: Entry) -> bytes:
        """The file's bytes. Raises DataError where it is not what the listing said."""
        ...


@dataclass(frozen=True)
class SplitListing:
    """Everything that a source holds for one split, sorted by name."""

    split: str
    classes: list[str]
    """Class names of this split, sorted."""
    entries: list[Entry]
    refused: dict[str, int]
    """Files that are no candidates, name -> bytes."""
    reasons: list[Quarantined]
    """Why each of the refused is none, in the same order."""
    reader: Reader
    hidden_files: int = 0
    notices: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.entries)

    def stamps(self) -> dict[str, int]:
        """Name -> bytes of every file seen: what the source digest covers."""
        return {entry.name: entry.bytes for entry in self.entries} | self.refused


@dataclass(frozen=True)
class Source:
    """A detected source. ``listings`` holds the splits to shard, in the order of SPLITS."""

    layout: str
    path: Path
    suggested_name: str
    classes: list[str]
    """The class list that labels count in: that of train where the source has train."""
    listings: list[SplitListing]
    notices: list[str]


SPLITS = ("train", "validation")
"""Names of the splits, in the order in which they are written."""
