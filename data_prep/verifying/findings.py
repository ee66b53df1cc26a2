"""What a verification finds in a shard folder, one line for each."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.wording import printable

_SINGLY = 16
"""So many samples of a shard are named one by one in any case."""
HASH_SHOWN = 12

WRITE_ANEW = "shard SOURCE into another OUT"
"""The remedy where the files are what the manifest says, and that is wrong."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is broken."""

    file: str
    found: str
    rule: str
    """What should be there instead; where a repair does not help, what does."""
    sample: str | None = None
    """Key of the sample; None: it is about the file."""
    can_repair: bool = True
    """Whether writing the file again from its source mends it."""

    def __str__(self) -> str:
        where = self.file if self.sample is None else f"{self.file}: sample {self.sample}"
        return printable(f"{where}: {self.found}; {self.rule}")


@dataclass(frozen=True)
class ShardFacts:
    """What was read in one shard."""

    split: str
    index: int
    is_whole: bool
    """Whether size and hash are those of the manifest."""
    keys: NDArray[np.bytes_]
    """(N,) in the order of the tar."""
    class_counts: NDArray[np.int64]
    """(classes,) samples per label; labels that cannot be read are left out."""
    decoded: int
    misplaced: int
    """Samples whose key names another class, where the manifest accepts that."""
    problems: list[Problem]


def condensed(problems: Sequence[Problem], samples: int) -> list[Problem]:
    """One line instead of many, where the same is wrong with most samples of a file."""
    if len(problems) <= max(_SINGLY, samples // 2):
        return list(problems)
    first = problems[0]
    told = first.found if first.sample is None else f"sample {first.sample}: {first.found}"
    return [replace(first, sample=None, found=f"{len(problems):,} entries are wrong, first {told}")]


def file_problem(path: Path, size: int, sha256: str) -> Problem | None:
    """What tells a file from the one that the manifest describes."""
    try:
        if not path.is_file():
            return Problem(path.name, "is missing", f"the manifest says {size} bytes")
        with path.open("rb") as file:
            found = path.stat().st_size
            if found != size:
                return Problem(path.name, f"has {found} bytes", f"the manifest says {size}")
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return unreadable(path, error)
    return None if digest == sha256 else changed(path, digest, sha256)


def changed(path: Path, digest: str, sha256: str) -> Problem:
    """A file with another hash than the manifest says."""
    found, rule = f"has sha256 {digest[:HASH_SHOWN]}", f"the manifest says {sha256[:HASH_SHOWN]}"
    return Problem(path.name, found, rule)


def unreadable(path: Path, error: OSError) -> Problem:
    """What the file system says of a file."""
    return Problem(
        path.name, f"cannot be read ({error.strerror})", "make it readable, or repair it"
    )
