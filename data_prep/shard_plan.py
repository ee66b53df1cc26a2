"""Which sample goes into which shard: pure functions of (source, seed, options)."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.keys import assign_keys
from data_prep.sources import Entry, Reader, Source, SplitListing
from pipeline.errors import UserError
from pipeline.shards import shard_name

MAX_SHARDS = 10_000
"""Names have four digits."""


@dataclass(frozen=True)
class _Sizing:
    imagenet_samples: range
    imagenet_shards: int
    samples_per_shard: int


# ImageNet has 1,281,167 and 50,000 images: about 140 MB and 100 MB per tar.
_SIZING = {
    "train": _Sizing(range(1_000_000, 2_000_000), 1024, 1250),
    "validation": _Sizing(range(50_000, 100_000), 64, 780),
}
_FEWEST_SHARDS = 4  # small data too should have several, for readers that deal out shards


Check = Literal["full", "header"]
"""``--check``: decode every image, or read sizes alone."""


DEFAULT_QUALITY = 90


@dataclass(frozen=True)
class Reencode:
    """``--max-side`` and ``--quality``."""

    max_side: int
    """Pixels. Larger images are scaled down to it; the others keep their bytes."""
    quality: int
    """Of JPEG, 1 to 100, as libjpeg counts."""


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to write shard ``index``; picklable."""

    out: Path
    dataset: str
    split: str
    index: int
    entries: list[Entry]
    keys: list[str]
    labels: list[int]
    label_digits: int
    reader: Reader
    check: Check
    reencode: Reencode | None = None
    expected_sha256: str | None = None
    """Of a shard that is written again."""

    @property
    def name(self) -> str:
        return shard_name(self.dataset, self.split, self.index)


@dataclass(frozen=True)
class SplitPlan:
    """A split's samples in shard order, and what decided it."""

    out: Path
    dataset: str
    classes: list[str]
    source: Source
    listing: SplitListing
    seed: int
    shards: int
    check: Check
    reencode: Reencode | None = None

    @property
    def split(self) -> str:
        return self.listing.split

    @property
    def label_digits(self) -> int:
        """Characters of a ``.cls`` member: those of the largest label."""
        return label_digits(self.classes)

    @cached_property
    def keys(self) -> NDArray[np.bytes_]:
        """(N,) keys of the listing's entries."""
        return assign_keys(self.listing.entries)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """(N,) positions in the listing, in shard order."""
        return shard_order(self.keys, self.split, self.seed)

    @cached_property
    def options(self) -> dict[str, Any]:
        """What decides the bytes, as the manifest keeps it."""
        return {
            "seed": self.seed,
            "shards": self.shards,
            "check": self.check,
            "max_side": self.reencode.max_side if self.reencode else None,
            "quality": self.reencode.quality if self.reencode else None,
            "classes_sha256": hashlib.sha256(json.dumps(self.classes).encode()).hexdigest(),
            "source_sha256": source_digest(self.listing.stamps()),
        }

    def positions(self, index: int) -> NDArray[np.int64]:
        """(n,) positions in the listing of the samples of shard ``index``."""
        start, stop = shard_bounds(len(self.order), self.shards, index)
        return self.order[start:stop]

    def task(self, index: int, reader: Reader, expected_sha256: str | None = None) -> ShardTask:
        """The work of shard ``index``; reader: of the listing, or one made of it."""
        label = {name: i for i, name in enumerate(self.classes)}
        picked = self.positions(index).tolist()
        entries = [self.listing.entries[i] for i in picked]
        return ShardTask(
            out=self.out,
            dataset=self.dataset,
            split=self.split,
            index=index,
            entries=entries,
            keys=[key.decode("ascii") for key in self.keys[picked].tolist()],
            labels=[label[entry.class_name] for entry in entries],
            label_digits=self.label_digits,
            reader=reader,
            check=self.check,
            reencode=self.reencode,
            expected_sha256=expected_sha256,
        )


def label_digits(classes: Sequence[str]) -> int:
    """Width of a ``.cls`` member: the digits of the largest label."""
    return len(str(len(classes) - 1))


def shard_order(keys: NDArray[np.bytes_], split: str, seed: int) -> NDArray[np.int64]:
    """(N,) positions sorted by key; train is then permuted by the seed.

    The permutation sorts raw Philox words: numpy keeps bit generators' streams across
    versions, but not its own shuffles.
    """
    order = np.argsort(keys, kind="stable")
    if split != "train":
        return order
    words = np.random.Philox(key=seed).random_raw(len(order))
    return order[np.argsort(words, kind="stable")]


def shard_bounds(samples: int, shards: int, index: int) -> tuple[int, int]:
    """First and past-the-last position of shard ``index``; sizes differ by at most one."""
    return index * samples // shards, (index + 1) * samples // shards


def default_shards(samples: int, split: str) -> int:
    """ImageNet's shard counts at ImageNet's size, shards of the same size otherwise."""
    sizing = _SIZING[split]
    if samples in sizing.imagenet_samples:
        return sizing.imagenet_shards
    by_size = round(samples / sizing.samples_per_shard)
    return min(MAX_SHARDS, max(by_size, min(_FEWEST_SHARDS, samples)))


def chosen_shards(
    samples: int, split: str, shards: int | None, samples_per_shard: int | None
) -> int:
    """The shard count that the options ask for. Raises UserError where it makes no sense."""
    if samples_per_shard is not None:
        count, said = -(-samples // samples_per_shard), f"--samples-per-shard {samples_per_shard}"
    elif shards is not None:
        count, said = shards, f"--shards {shards}"
    else:
        count, said = default_shards(samples, split), "the default shard count"
    if count > samples:
        raise UserError(
            f"{said}: {split} has {samples} images and every shard needs one; "
            f"use --shards {samples} or less, or shard the splits one by one"
        )
    if count > MAX_SHARDS:
        raise UserError(
            f"{said} makes {count} {split} shards, names have room for {MAX_SHARDS}; "
            f"use --samples-per-shard {-(-samples // MAX_SHARDS)} or more"
        )
    return count


def source_digest(stamps: Iterable[tuple[bytes, int]]) -> str:
    """sha256 (hex) over the sorted names and sizes of all files seen."""
    digest = hashlib.sha256()
    for stamp in stamps:
        digest.update(b"%s\0%d\n" % stamp)
    return digest.hexdigest()
