"""Images that stand in a split under several keys with the same bytes."""

import mmap
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from data_prep.sources.entries import decoded
from pipeline.shards import names_name, samples_name


def fingerprint(image: bytes) -> int:
    """64 bits of XXH3: with the size, a chance match among 10 million images has p < 1e-5."""
    return xxhash.xxh3_64_intdigest(image)


def find_duplicates(
    out: Path, dataset: str, split: str, fingerprints: NDArray[np.uint64]
) -> list[list[str]]:
    """Groups of original names whose images are the same, each sorted; they are kept all.

    fingerprints: (N,) in shard order. Needs the split's side files.
    """
    rows = np.load(out / samples_name(dataset, split), mmap_mode="r")
    order = np.lexsort((rows["bytes"], fingerprints))
    prints, sizes = fingerprints[order], rows["bytes"][order]
    begins = np.ones(len(order) + 1, np.bool_)
    begins[1:-1] = (prints[1:] != prints[:-1]) | (sizes[1:] != sizes[:-1])
    starts = np.flatnonzero(begins)
    repeated = np.flatnonzero(np.diff(starts) > 1)
    groups = [order[i:j] for i, j in zip(starts[repeated], starts[repeated + 1], strict=True)]
    with (out / names_name(dataset, split)).open("rb") as file:
        names = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return sorted(sorted(_original(names, row) for row in rows["name_offset"][g]) for g in groups)


def _original(names: mmap.mmap, offset: int) -> str:
    start = names.find(b"\0", int(offset)) + 1
    return decoded(names[start : names.find(b"\0", start)])
