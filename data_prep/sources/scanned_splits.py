"""Files that hold many images with label numbers: scanned split by split."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_prep.sources.imagefolder import wanted_splits
from data_prep.sources.numbered import LabelNames
from data_prep.sources.scan import scan
from data_prep.sources.split_files import by_split, files_below
from data_prep.wording import printable
from pipeline.errors import UserError


class ScannedFile(Protocol):
    """What was found in a file."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) of the images."""
        ...

    def tell(self, labels: LabelNames) -> None:
        """Show every label, and what the names say about it."""
        ...


F = TypeVar("F", bound=ScannedFile)


@dataclass(frozen=True)
class ScannedSplits(Generic[F]):
    """Split -> its files. All are scanned: names in train tell what labels in validation mean."""

    paths: dict[str, list[Path]]
    scanned: dict[str, list[F]]
    wanted: list[str]
    """The splits to write."""
    labels: LabelNames
    notices: list[str]

    @property
    def used_labels(self) -> list[int]:
        """Those of train, or of the one split that is there."""
        files = self.scanned.get("train", self.scanned[self.wanted[0]])
        return np.unique(np.concatenate([file.labels for file in files])).tolist()


def scan_splits(
    path: Path, split: str | None, suffix: str, looked_for: str, scan_file: Callable[[Path], F]
) -> ScannedSplits[F]:
    """Scan the files of that suffix. Raises UserError where there are none."""
    parts, notices = by_split(path, files_below(path, suffix), split)
    if not parts:
        raise UserError(f"SOURCE={printable(path)} has no {looked_for}; name their folder")
    wanted, said = wanted_splits(path, {name: name for name in parts}, split)
    scanned = {name: scan(scan_file, files) for name, files in parts.items()}
    labels = LabelNames(printable(path))
    for files in scanned.values():
        for file in files:
            file.tell(labels)
    return ScannedSplits(parts, scanned, wanted, labels, [*notices, *said])
