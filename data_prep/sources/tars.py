"""WebDataset tars, ours or others', to be sharded anew.

Samples are told apart as the webdataset library does; only headers and labels are read.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.sources import Entry, Source, SplitListing
from data_prep.sources.archives import finds as finds_archives
from data_prep.sources.archives import members
from data_prep.sources.entries import Entries, decoded, encoded, join, pack
from data_prep.sources.numbered import LabelNames, class_names, numbered
from data_prep.sources.readers import IMAGE_SUFFIXES, RangeReader, readable
from data_prep.sources.scanned_splits import scan_splits
from data_prep.sources.split_files import files_below
from data_prep.wording import named, printable
from pipeline.errors import DataError
from pipeline.shards import FIRST_VERSION, MANIFEST, Quarantined, read_manifest

LAYOUT = "webdataset"
LOOKED_FOR = "*.tar with samples of .jpg and .cls"

_IMAGES = tuple(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)
_LABEL = "cls"


def finds(path: Path) -> bool:
    """Whether there are tars, and not the official archives."""
    return bool(files_below(path, ".tar")) and not finds_archives(path)


def open_source(path: Path, split: str | None, classes: Sequence[str] | None = None) -> Source:
    """List tars; ``classes``: of ``--classes``, for labels that only are numbers.

    Raises UserError where there are none, DataError for labels that contradict names.
    """
    # It imports torch: once here, before the processes that scan are forked.
    import webdataset.tariterators  # noqa: F401

    splits = scan_splits(path, split, ".tar", LOOKED_FOR, _scan_tar)
    manifest = read_manifest(path, FIRST_VERSION) if (path / MANIFEST).is_file() else None
    names = splits.labels.resolve(manifest.classes if manifest else None, classes)
    listings = [
        _listing(name, splits.paths[name], splits.scanned[name], names) for name in splits.wanted
    ]
    used = class_names(splits.labels, names, splits.used_labels)
    return Source(
        layout=LAYOUT,
        path=path,
        classes=manifest.classes if manifest else used,
        listings=listings,
        name=manifest.dataset if manifest else None,
        notices=splits.notices,
    )


@dataclass(frozen=True)
class _Scanned:
    """The samples of a tar. (N,) each."""

    files: NDArray[np.bytes_]
    """``key.suffix`` of the images."""
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    refused: list[tuple[str, str]]
    """Key and reason."""

    def tell(self, labels: LabelNames) -> None:
        """Show every label, and what the keys say about it."""
        for file, label in zip(self.files, self.labels.tolist(), strict=True):
            labels.see(numbered(decoded(file).rpartition(".")[0], label))

    def entries(self, container: int, names: Sequence[str]) -> Entries:
        """The samples as entries; names: of the classes, by label."""
        found: list[Entry] = []
        labels: list[int] = self.labels.tolist()
        places = (self.sizes.tolist(), self.offsets.tolist())
        for file, label, size, offset in zip(self.files, labels, *places, strict=True):
            class_name = names[label]
            name = f"{class_name}/{decoded(file).rpartition('/')[2]}"
            found.append(Entry(class_name, name, size, container, offset))
        return pack(found)


def _scan_tar(path: Path) -> _Scanned:
    found: list[tuple[bytes, int, int, int]] = []
    refused: list[tuple[str, str]] = []
    with readable(str(path)), path.open("rb") as file:
        for sample in _samples(path):
            key = sample["__key__"]
            suffix = next((s for s in _IMAGES if s in sample), None)
            if suffix is None or _LABEL not in sample:
                refused.append((key, "no .jpg" if suffix is None else "no .cls"))
                continue
            offset, size = sample[_LABEL]
            text = os.pread(file.fileno(), size, offset).strip()
            if not text.isdigit():
                raise DataError(
                    f"{printable(path)}: {printable(key)}.cls holds {text[:20]!r}, not a label "
                    "number; repair the source"
                )
            offset, size = sample[suffix]
            found.append((encoded(f"{key}.{suffix}"), int(text), size, offset))
    files, labels, sizes, offsets = zip(*found, strict=True) if found else ((), (), (), ())
    return _Scanned(
        np.array(files, np.bytes_),
        np.array(labels, np.int64),
        np.array(sizes, np.int64),
        np.array(offsets, np.int64),
        refused,
    )


def _samples(path: Path) -> Iterator[dict[str, Any]]:
    """Samples as webdataset groups them, with places (offset, bytes) instead of contents."""
    # The library imports torch: only this layout pays for it.
    from webdataset.tariterators import group_by_keys

    files = (
        {"fname": name, "data": (offset, size), "__url__": str(path)}
        for name, offset, size in members(path)
    )
    try:
        yield from group_by_keys(files)
    except ValueError as error:
        raise DataError(f"{printable(path)}: {error.args[0]}; repair the source") from error


def _listing(
    split: str, paths: Sequence[Path], tars: Sequence[_Scanned], names: Sequence[str]
) -> SplitListing:
    if not any(len(tar.files) for tar in tars):
        raise DataError(
            f"{split}: no sample of {named([p.name for p in paths])} has .jpg and .cls; "
            "give WebDataset tars, or say what SOURCE is with --layout"
        )
    refused = sorted(item for tar in tars for item in tar.refused)
    return SplitListing(
        split,
        join([tar.entries(i, names) for i, tar in enumerate(tars)]),
        RangeReader([str(path) for path in paths]),
        refused=dict.fromkeys((key for key, _ in refused), 0),
        reasons=[Quarantined(key, f"the sample has {reason}") for key, reason in refused],
    )
