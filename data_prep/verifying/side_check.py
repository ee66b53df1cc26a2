"""The sample rows and names of a split, whole or not, cut into the parts that shards have."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.sources.entries import decoded
from data_prep.verifying.findings import WRITE_ANEW, Problem, file_problem
from pipeline.shards import MANIFEST, SAMPLE_DTYPE, Manifest, ShardEntry, names_name, samples_name


@dataclass(frozen=True)
class Expected:
    """What manifest and side files say of one shard of N samples."""

    split: str
    index: int
    entry: ShardEntry
    first_sample: int
    """Of this shard, counted in the split."""
    rows: NDArray[np.void] | None
    """(N,) SAMPLE_DTYPE; None: unknown."""
    rows_file: str
    rows_are_whole: bool
    names: list[tuple[str, str]] | None
    """Key and original name of each sample; None: unknown."""
    name_offsets: list[int]
    names_file: str
    names_are_whole: bool

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.names or ()]


@dataclass(frozen=True)
class SideFiles:
    """Both side files of a split of N samples, opened."""

    split: str
    entries: list[ShardEntry]
    rows: NDArray[np.void] | None
    rows_file: str
    rows_are_whole: bool
    names: NDArray[np.uint8] | None
    """The bytes of the names file."""
    starts: NDArray[np.int64]
    """(N + 1,) where each sample's record begins in it."""
    names_file: str
    names_are_whole: bool
    bounds: NDArray[np.int64]
    """(shards + 1,) the first sample of each shard."""
    problems: list[Problem]

    def part(self, index: int) -> Expected:
        """What is said of shard ``index``."""
        first, last = int(self.bounds[index]), int(self.bounds[index + 1])
        names, starts = None, self.starts[first : last + 1].tolist()
        if self.names is not None and starts:
            texts = self.names[starts[0] : starts[-1]].tobytes().split(b"\0")[:-1]
            keys = [key.decode("ascii", "backslashreplace") for key in texts[::2]]
            names = list(zip(keys, map(decoded, texts[1::2]), strict=True))
        return Expected(
            self.split,
            index,
            self.entries[index],
            first,
            None if self.rows is None else self.rows[first:last],
            self.rows_file,
            self.rows_are_whole,
            names,
            starts[:-1],
            self.names_file,
            self.names_are_whole,
        )


def open_side_files(out: Path, manifest: Manifest, split: str) -> SideFiles:
    """Check a split's side files against the manifest and open what can be opened."""
    about = manifest.splits[split]
    rows_file, names_file = (
        samples_name(manifest.dataset, split),
        names_name(manifest.dataset, split),
    )
    listed = {file.name: file for file in about.side_files}
    problems: list[Problem] = []
    whole: set[str] = set()
    for name in (rows_file, names_file):
        if name not in listed:
            found = f"splits.{split}.side_files lacks {name}"
            problems.append(Problem(MANIFEST, found, WRITE_ANEW, can_repair=False))
        elif problem := file_problem(out / name, listed[name].bytes, listed[name].sha256):
            problems.append(problem)
        else:
            whole.add(name)
    rows = _rows(out / rows_file)
    if rows_file in whole and rows is None:
        problems.append(Problem(rows_file, "holds no sample rows", WRITE_ANEW, can_repair=False))
        whole.remove(rows_file)
    samples = len(rows) if rows is not None and rows_file in whole else about.samples
    names = _bytes(out / names_file)
    starts = _starts(names, samples)
    if names_file in whole and starts is None:
        found = f"does not hold {samples} keys and names"
        problems.append(Problem(names_file, found, WRITE_ANEW, can_repair=False))
        whole.remove(names_file)
    return SideFiles(
        split,
        about.shards,
        rows if rows is not None and len(rows) == samples else None,
        rows_file,
        rows_file in whole,
        names if starts is not None else None,
        np.zeros(0, np.int64) if starts is None else starts,
        names_file,
        names_file in whole,
        _bounds(about.shards, rows if rows_file in whole else None),
        problems,
    )


def _rows(path: Path) -> NDArray[np.void] | None:
    try:
        rows = np.lib.format.open_memmap(path, mode="r")
    except Exception:  # noqa: BLE001 - numpy raises whatever a damaged header leads to
        return None
    return rows if rows.ndim == 1 and rows.dtype == SAMPLE_DTYPE else None


def _bytes(path: Path) -> NDArray[np.uint8] | None:
    try:
        return np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError):  # missing, or empty
        return None


def _starts(names: NDArray[np.uint8] | None, samples: int) -> NDArray[np.int64] | None:
    """(N + 1,) where each ``key NUL name NUL`` begins, and the end; None if there are not N."""
    if names is None:
        return None
    ends = np.flatnonzero(names == 0)
    if len(ends) != 2 * samples or not samples or ends[-1] != len(names) - 1:
        return None
    return np.concatenate([[0], ends[1::2] + 1]).astype(np.int64)


def _bounds(entries: list[ShardEntry], rows: NDArray[np.void] | None) -> NDArray[np.int64]:
    """By the rows where they can be relied on: the manifest's counts are to be checked."""
    counts = np.array([entry.samples for entry in entries], np.int64)
    if rows is not None:
        shards = rows["shard"].astype(np.int64)
        if np.all(shards[1:] >= shards[:-1]) and np.all(shards < len(entries)):
            counts = np.bincount(shards, minlength=len(entries))
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
