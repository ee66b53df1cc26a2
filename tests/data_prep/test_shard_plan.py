"""Order and shard boundaries: pure functions of the samples, the seed and the options."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.shard_plan import (
    chosen_shards,
    default_shards,
    label_digits,
    shard_bounds,
    shard_order,
    source_digest,
)
from data_prep.sources import SplitListing
from data_prep.sources.entries import Entry, join, pack
from data_prep.sources.readers import FolderReader
from pipeline.errors import UserError

KEYS = np.array([f"k{(i * 7) % 100:02d}" for i in range(100)], np.bytes_)


def test_validation_is_in_key_order() -> None:
    assert [KEYS[i] for i in shard_order(KEYS, "validation", seed=3)] == sorted(KEYS)


def test_train_is_a_permutation_by_the_seed() -> None:
    order = shard_order(KEYS, "train", seed=3).tolist()
    assert sorted(order) == list(range(100))
    assert [KEYS[i] for i in order] != sorted(KEYS)
    assert order == shard_order(KEYS, "train", seed=3).tolist()
    assert order != shard_order(KEYS, "train", seed=4).tolist()


def test_the_permutation_is_pinned() -> None:
    # Shards written years apart must be the same bytes.
    keys = np.array([f"{i}" for i in range(8)], np.bytes_)
    assert shard_order(keys, "train", seed=0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]


def test_the_order_does_not_depend_on_the_listing() -> None:
    backwards = KEYS[::-1]
    keys = [KEYS[i] for i in shard_order(KEYS, "train", seed=1)]
    assert keys == [backwards[i] for i in shard_order(backwards, "train", seed=1)]


@given(st.integers(1, 5000), st.integers(1, 300))
def test_shards_are_adjacent_slices_of_nearly_equal_size(samples: int, shards: int) -> None:
    bounds = [shard_bounds(samples, shards, k) for k in range(shards)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == samples
    assert all(a[1] == b[0] for a, b in pairwise(bounds))
    sizes = [stop - start for start, stop in bounds]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("samples", "split", "shards"),
    [
        (1_281_167, "train", 1024),
        (50_000, "validation", 64),
        (126_689, "train", 101),
        (14_000_000, "train", 10_000),
        (5_000, "validation", 6),
        (1442, "train", 4),
        (3, "train", 3),
    ],
)
def test_default_shard_counts(samples: int, split: str, shards: int) -> None:
    assert default_shards(samples, split) == shards


def test_samples_per_shard_is_a_ceiling() -> None:
    assert chosen_shards(21, "train", None, 5) == 5
    assert chosen_shards(20, "train", None, 5) == 4


def test_more_shards_than_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"--shards 30: train has 21 images .* use --shards 21"):
        chosen_shards(21, "train", 30, None)


def test_more_shards_than_names_are_refused() -> None:
    with pytest.raises(UserError, match="--samples-per-shard 129"):
        chosen_shards(1_281_167, "train", 10_001, None)


@pytest.mark.parametrize(("classes", "digits"), [(2, 1), (10, 1), (11, 2), (1000, 3), (1001, 4)])
def test_labels_are_as_wide_as_the_largest(classes: int, digits: int) -> None:
    assert label_digits([str(i) for i in range(classes)]) == digits


def test_the_source_digest_sees_names_and_sizes_but_no_order() -> None:
    digest = source_digest(listing(("a", 1), ("b", 2)).stamps())
    assert digest == source_digest(listing(("b", 2), ("a", 1)).stamps())
    assert digest != source_digest(listing(("a", 1), ("b", 3)).stamps())
    assert digest != source_digest(listing(("a", 1), ("c", 2)).stamps())
    assert digest != source_digest(listing(("a", 1), ("b", 2), refused={"x/d": 1}).stamps())


def test_the_source_digest_of_a_mixed_listing_is_pinned() -> None:
    # Folders sharded with another version must still be recognised.
    text = b"x/a.jpg\x001\nx/b.txt\x003\nx/c.jpg\x002\n"
    mixed = listing(("a", 1), ("c", 2), refused={"x/b.txt": 3})
    assert source_digest(mixed.stamps()) == hashlib.sha256(text).hexdigest()


def listing(*stems: tuple[str, int], refused: dict[str, int] | None = None) -> SplitListing:
    found = [Entry("x", f"x/{stem}.jpg", size) for stem, size in stems]
    return SplitListing("train", join([pack(found)]), FolderReader("."), refused or {})
