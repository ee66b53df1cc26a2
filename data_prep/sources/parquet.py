"""Parquet files as the Hugging Face hub keeps image data sets: ``image{bytes,path}``, ``label``.

Paths and labels are read for the listing, images by row groups.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.sources import Entry, Source, SplitListing
from data_prep.sources.entries import Entries, decoded, encoded, join, pack
from data_prep.sources.numbered import LabelNames, class_names, numbered
from data_prep.sources.readers import readable
from data_prep.sources.row_groups import RowGroupReader, opened
from data_prep.sources.scanned_splits import scan_splits
from data_prep.sources.split_files import files_below
from data_prep.wording import named, plural, printable
from pipeline.errors import DataError, UserError

LAYOUT = "parquet"
LOOKED_FOR = "*.parquet with the columns image{bytes,path} and label"

_COLUMNS = {"image.bytes", "image.path", "label"}


def finds(path: Path) -> bool:
    """Whether there are parquet files."""
    return bool(files_below(path, ".parquet"))


def open_source(path: Path, split: str | None, classes: Sequence[str] | None = None) -> Source:
    """List parquet files; ``classes``: of ``--classes``, for labels that only are numbers.

    Raises UserError for files of another kind, DataError for labels that contradict names.
    """
    splits = scan_splits(path, split, ".parquet", LOOKED_FOR, _scan_file)
    declared = next(file.declared for files in splits.scanned.values() for file in files)
    names = splits.labels.resolve(declared, classes)
    listings = [
        SplitListing(
            name,
            join([file.entries(i, names) for i, file in enumerate(splits.scanned[name])]),
            _reader(splits.paths[name], splits.scanned[name]),
        )
        for name in splits.wanted
    ]
    return Source(
        layout=LAYOUT,
        path=path,
        classes=class_names(splits.labels, names, splits.used_labels),
        listings=listings,
        notices=splits.notices,
    )


def _reader(paths: Sequence[Path], scanned: Sequence["_Scanned"]) -> RowGroupReader:
    return RowGroupReader(
        [str(path) for path in paths],
        sum(file.row_groups for file in scanned),
        sum(int(file.sizes.sum()) for file in scanned),
    )


@dataclass(frozen=True)
class _Scanned:
    """What a file says besides its images. (N,) rows."""

    paths: NDArray[np.bytes_]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    """Bytes: of a row group's mean image."""
    declared: list[str] | None
    row_groups: int

    def tell(self, labels: LabelNames) -> None:
        """Show every label, and what the names say about it."""
        for path, label in zip(self.paths, self.labels.tolist(), strict=True):
            labels.see(numbered(decoded(path).rpartition(".")[0], label))

    def entries(self, container: int, names: Sequence[str]) -> Entries:
        """The rows as entries; names: of the classes, by label."""
        found: list[Entry] = []
        labels: list[int] = self.labels.tolist()
        rows = zip(self.paths, labels, self.sizes.tolist(), strict=True)
        for row, (path, label, size) in enumerate(rows):
            stem, _, suffix = decoded(path).rpartition(".")
            image = numbered(stem, label)
            file_name = f"{image.stem.rpartition('/')[2]}.{suffix}"
            class_name = names[label]
            found.append(Entry(class_name, f"{class_name}/{file_name}", size, container, row))
        return pack(found)


def _scan_file(path: Path) -> _Scanned:
    with readable(str(path)):
        parquet = opened(str(path))
        have = {parquet.schema.column(i).path for i in range(len(parquet.schema))}
        if not have >= _COLUMNS:
            raise UserError(
                f"{printable(path)} has the columns {named(sorted(have))}, and not "
                f"{named(sorted(_COLUMNS - have))}; needed are image{{bytes,path}} and label"
            )
        table = parquet.read(columns=["image.path", "label"], use_threads=False)
    labels = table.column("label")
    if not str(labels.type).startswith(("int", "uint")):
        raise UserError(
            f"{printable(path)}: the column label holds {labels.type}, and labels are whole "
            "numbers; convert it"
        )
    if labels.null_count:
        missing = plural(labels.null_count, "row")
        raise DataError(f"{printable(path)}: {missing} without a label; repair it")
    listed: list[str | None] = table.column("image").combine_chunks().field("path").to_pylist()
    # Without a path, the place in the files is the name.
    paths = [text or f"{path.stem}-{row:07d}.jpg" for row, text in enumerate(listed)]
    return _Scanned(
        np.array([encoded(text) for text in paths], np.bytes_),
        labels.to_numpy().astype(np.int64),
        _mean_sizes(parquet.metadata),
        _declared_names(parquet.schema_arrow),
        parquet.num_row_groups,
    )


def _mean_sizes(metadata: Any) -> NDArray[np.int64]:
    parts: list[NDArray[np.int64]] = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(i) for i in range(group.num_columns)]
        size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema == "image.bytes")
        parts.append(np.full(group.num_rows, size // max(group.num_rows, 1), np.int64))
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _declared_names(schema: Any) -> list[str] | None:
    """The class names that the ``datasets`` library notes in a schema."""
    try:
        about = json.loads(schema.metadata[b"huggingface"])
        return list(about["info"]["features"]["label"]["names"])
    except (KeyError, TypeError, ValueError):
        return None
