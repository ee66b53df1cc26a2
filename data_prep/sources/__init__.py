"""Where images come from: one file per layout, all giving the same listing and reader."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.sources.entries import Entries, Entry, decoded, encoded
from data_prep.sources.readers import Reader
from pipeline.shards import Quarantined

__all__ = ["SPLITS", "VALIDATION_NAMES", "Entries", "Entry", "Reader", "Source", "SplitListing"]

SPLITS = ("train", "validation")
"""Names of the splits, in the order in which they are written."""
VALIDATION_NAMES = ("val", "validation", "valid", "eval")
"""What people call the second one, in the names of folders and files."""


@dataclass(frozen=True)
class SplitListing:
    """Everything that a source holds for one split."""

    split: str
    entries: Entries
    """The candidates, sorted by name."""
    reader: Reader
    refused: dict[str, int] = field(default_factory=dict[str, int])
    """Files that are no candidates, name -> bytes."""
    reasons: list[Quarantined] = field(default_factory=list[Quarantined])
    """Why each of the refused is none, in the same order."""
    hidden_files: int = 0
    notices: list[str] = field(default_factory=list[str])

    @property
    def classes(self) -> list[str]:
        """Class names of this split, sorted."""
        return self.entries.classes

    @property
    def files(self) -> int:
        """Candidates and refused files."""
        return len(self.entries) + len(self.refused)

    @property
    def total_bytes(self) -> int:
        return self.entries.total_bytes + sum(self.refused.values())

    def stamps(self) -> Iterator[tuple[bytes, int]]:
        """Name and bytes of every file seen, sorted: what the source digest covers."""
        refused = sorted((encoded(name), size) for name, size in self.refused.items())
        entries = self.entries
        listed = zip(entries.names, entries.sizes, strict=True)
        return heapq.merge(((bytes(name), int(size)) for name, size in listed), refused)

    def sizes(self) -> dict[str, int]:
        """The stamps as a dictionary: large, for messages."""
        return {decoded(name): size for name, size in self.stamps()}


@dataclass(frozen=True)
class Source:
    """An opened source. ``listings`` holds the splits to shard, in the order of SPLITS."""

    layout: str
    path: Path
    classes: list[str]
    """The classes that labels count in: those of train where the source has train."""
    listings: list[SplitListing]
    name: str | None = None
    """What the source itself calls the dataset."""
    notices: list[str] = field(default_factory=list[str])
    is_whole_imagenet: bool = False
    """Whether the layout itself says that this is all of ImageNet-1k."""
