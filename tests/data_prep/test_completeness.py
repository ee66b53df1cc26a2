"""The list of classes is everybody's, and a source that claims to be ImageNet is held to it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from data_prep import imagenet1k
from data_prep.completeness import imagenet_differences
from data_prep.sources import Entries, Source, SplitListing
from data_prep.sources.readers import FolderReader
from pipeline.errors import DataError

PER_CLASS = dict.fromkeys(imagenet1k.wnids(), 1300)
# 895 classes of 1300 and 105 smaller ones make the known total.
for number, wnid in enumerate(imagenet1k.wnids()[:105]):
    PER_CLASS[wnid] = 1300 - [179, 180][number < 33]
PER_CLASS[imagenet1k.wnids()[104]] += sum([179, 180][i < 33] for i in range(105)) - 18_833


def source(
    train: Mapping[str, int], validation: Mapping[str, int] | None = None, claims: bool = False
) -> Source:
    listings = [listing("train", train)]
    if validation is not None:
        listings.append(listing("validation", validation))
    classes = sorted(train)
    return Source("imagefolder", Path("x"), classes, listings, is_whole_imagenet=claims)


def listing(split: str, counts: Mapping[str, int]) -> SplitListing:
    classes = sorted(counts)
    indices = np.repeat(np.arange(len(classes), dtype=np.int32), [counts[c] for c in classes])
    names = np.char.mod("%07d.jpg", np.arange(len(indices))).astype(np.bytes_)
    zeros = np.zeros(len(indices), np.int64)
    entries = Entries(classes, indices, names, zeros, zeros.astype(np.int32), zeros)
    return SplitListing(split, entries, FolderReader("."))


def test_the_list_is_timms() -> None:
    timm_data = pytest.importorskip("timm.data")
    assert list(imagenet1k.wnids()) == timm_data.ImageNetInfo("imagenet-1k").label_names()
    assert list(imagenet1k.wnids()) == sorted(imagenet1k.wnids())


def test_the_whole_of_it_passes() -> None:
    assert sum(PER_CLASS.values()) == 1_281_167
    whole = source(PER_CLASS, dict.fromkeys(PER_CLASS, 50), claims=True)
    assert imagenet_differences(whole, allow_partial=False) == []


def without(wnid: str) -> dict[str, int]:
    return {name: count for name, count in PER_CLASS.items() if name != wnid}


@pytest.mark.parametrize(
    ("counts", "claims", "said"),
    [
        (PER_CLASS | {"n01440764": 700}, False, "732 to 1,300 images per class, but not in 1"),
        (PER_CLASS | {"n01440764": 1000}, False, "instead of 1,281,167"),
        (without("n01440764"), False, "train lacks 1 class: n01440764"),
        (without("n01440764"), True, "train lacks 1 class: n01440764"),
        (without("n01440764") | {"n00000001": 1121}, True, "1 class that it does not have"),
        (without("n01440764") | {"n00000001": 1121}, False, "it does not have: n00000001"),
    ],
)
def test_what_differs_is_named(counts: Mapping[str, int], claims: bool, said: str) -> None:
    with pytest.raises(DataError, match="--allow-partial") as raised:
        imagenet_differences(source(counts, claims=claims), allow_partial=False)
    assert said in str(raised.value)
    assert any(said in text for text in imagenet_differences(source(counts, claims=claims), True))


def test_other_data_sets_are_left_alone() -> None:
    for counts in (
        {"ant": 3, "bee": 4},
        {"n01440764": 3, "n01443537": 2},
        PER_CLASS | {f"n9{number:07d}": 5 for number in range(20_841)},
    ):
        assert imagenet_differences(source(counts), allow_partial=False) == []
