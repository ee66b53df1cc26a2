"""RandAugment strings mean what they mean to timm, or are refused by the part that is not known."""

import math

import pytest
from timm.data.auto_augment import rand_augment_transform

from pipeline.config import load
from pipeline.config.policy import RandAugmentPolicy, parse_policy
from pipeline.errors import UserError

STRINGS = [
    "rand-m9-mstd0.5-inc1",
    "rand",
    "rand-m7-n3",
    "rand-n1-m15-mmax20",
    "rand-m9-mstd101",
    "rand-m9-inc0-p1.0",
    "rand-mstd1-m5-inc1-p0.25-n4",
]


@pytest.mark.parametrize("text", STRINGS)
def test_strings_are_timms(text: str) -> None:
    ours, theirs = parse_policy(text), rand_augment_transform(text, {"img_mean": (1, 2, 3)})
    op = theirs.ops[4]
    assert ours == RandAugmentPolicy(
        magnitude=int(op.magnitude),
        layers=theirs.num_layers,
        prob=op.prob,
        magnitude_std=op.magnitude_std,
        magnitude_max=op.magnitude_max or 10,
        increasing=op.name == "PosterizeIncreasing",
    )


def test_the_papers() -> None:
    assert parse_policy("rand-m9-mstd0.5-inc1") == RandAugmentPolicy(9, 2, 0.5, 0.5, 10, True)
    assert parse_policy("rand-mstd200").magnitude_std == math.inf


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("original-mstd0.5", "not 'original'"),
        ("augmix-m5", "not 'augmix'"),
        ("3a", "not '3a'"),
        ("rand-m9-tweights", "'tweights'"),
        ("rand-m9-w0", "'w0'"),
        ("rand-m9.5", "m9.5 needs a whole number"),
        ("rand-m", "m needs a whole number"),
        ("rand-mstdx", "mstdx"),
        ("rand-n0", "n0 must lie between 1"),
        ("rand-p2", "p2 must lie between 0"),
        ("rand-inc2", "inc2 must lie between 0 and 1"),
        ("rand-m9-m8", "m stands there twice"),
        ("rand--m9", "''"),
        ("", "not ''"),
    ],
)
def test_others_are_refused_by_name(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=r"^aa=") as caught:
        parse_policy(text)
    assert part in str(caught.value)


def test_the_config_names_its_place() -> None:
    with pytest.raises(UserError) as caught:
        load("configs/s12.yaml", ["augment.aa=rand-m9-tweights"])
    assert "'tweights' is not supported" in str(caught.value)
