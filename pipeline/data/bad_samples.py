"""Samples that no decoder takes: counted, named, and replaced by others of their batch."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.log import warn
from pipeline.shards import ShardSplit


class BadSamples:
    """The bad samples that this process has met in a split; more than ``most`` are an error."""

    def __init__(self, split: ShardSplit, most: int):
        self._split, self._most = split, most
        self.reasons: dict[int, str] = {}
        """Sample id to what the decoder says."""

    def add(self, sample: int, reason: str) -> None:
        """Count a sample and name it. Raises DataError if it is one too many."""
        if sample in self.reasons:
            return
        self.reasons[sample] = reason
        warn(f"{self.describe(sample)}: {reason}; another image of its batch takes its place")
        check_bad_samples(len(self.reasons), self._most, self._split)

    def describe(self, sample: int) -> str:
        """Tar, offset and key of a sample."""
        row = self._split.rows(np.array([sample]))[0]
        tar = self._split.manifest.shards[int(row["shard"])].name
        key, original = self._split.name(sample)
        return f"{tar} offset {int(row['offset'])} key {key} (original {original})"

    def sources(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B,) positions: each its own, or that of the next good sample of the batch, cyclic.

        A pure function of the batch, so that a substitute is the same on every world. Raises
        DataError where the batch holds no good one.
        """
        positions = np.arange(len(ids))
        if not self.reasons:
            return positions
        good = ~np.isin(ids, list(self.reasons))
        if not good.any():
            raise DataError(
                f"none of the {len(ids)} images of a batch can be decoded, among them "
                f"{self.describe(int(ids[0]))}; {_remedy(self._split)}"
            )
        where = np.flatnonzero(good)
        return np.where(good, positions, where[np.searchsorted(where, positions) % len(where)])


def check_bad_samples(count: int, most: int, split: ShardSplit) -> None:
    """Raises DataError where more samples are bad than data.max_bad_samples allows."""
    if count > most:
        raise DataError(
            f"{count} samples of {split.dataset}-{split.split} cannot be decoded, "
            f"data.max_bad_samples={most} are tolerated; {_remedy(split)}"
        )


def _remedy(split: ShardSplit) -> str:
    return (
        f"`python data_prep/verify.py {split.root} --decode all` names all of them, "
        "--repair SOURCE mends them"
    )
