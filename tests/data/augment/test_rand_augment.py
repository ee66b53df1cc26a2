"""RandAugment and colour jitter: each image draws for itself, by the policy's numbers."""

import numpy as np
import pytest

from pipeline.config.policy import RandAugmentPolicy, parse_policy
from pipeline.data.augment.operations import ENHANCE, Op, arguments_of
from pipeline.data.augment.rand_augment import color_jitter, rand_augment

PAPER = parse_policy("rand-m9-mstd0.5-inc1")
IDS = np.arange(20_000)


def test_half_of_two_draws_is_applied_evenly() -> None:
    drawn = rand_augment(PAPER, "random", 1, 0, IDS)
    assert drawn.ops.shape == (len(IDS), 2) and drawn.layers == 2
    counts = np.bincount(drawn.ops.ravel(), minlength=16) / drawn.ops.size
    assert abs(counts[0] - 0.5) < 0.01
    assert np.allclose(counts[1:], 1 / 30, atol=0.004)
    assert abs(drawn.bicubic.mean() - 0.5) < 0.01


def test_an_image_draws_alone_and_anew_each_epoch() -> None:
    all_of, some = (rand_augment(PAPER, "random", 3, 5, ids) for ids in (IDS[:90], IDS[40:50]))
    assert np.array_equal(all_of.ops[40:50], some.ops)
    assert np.array_equal(all_of.arguments[40:50], some.arguments)
    assert not np.array_equal(all_of.ops, rand_augment(PAPER, "random", 3, 6, IDS[:90]).ops)
    assert np.array_equal(all_of.kept(np.array([4, 2])).ops, all_of.ops[[4, 2]])


@pytest.mark.parametrize("filter_name", ["bilinear", "bicubic"])
def test_a_fixed_interpolation_stays(filter_name: str) -> None:
    drawn = rand_augment(PAPER, filter_name, 1, 0, IDS[:100])
    assert (drawn.bicubic == (filter_name == "bicubic")).all() and drawn.bicubic.shape == (100, 2)


def test_layers_and_probability() -> None:
    policy = RandAugmentPolicy(layers=4, prob=1.0)
    assert (rand_augment(policy, "random", 1, 0, IDS[:500]).ops != Op.NONE).all()
    never = RandAugmentPolicy(layers=1, prob=0.0)
    assert (rand_augment(never, "random", 1, 0, IDS[:500]).ops == Op.NONE).all()


def test_uniform_and_fixed_magnitudes() -> None:
    uniform = RandAugmentPolicy(magnitude=8, prob=1.0, magnitude_std=np.inf)
    drawn = rand_augment(uniform, "random", 1, 0, IDS)
    turns = np.abs(drawn.arguments[drawn.ops == Op.ROTATE])
    assert 0 < turns.min() < 0.5 and 23.5 < turns.max() < 24
    fixed = rand_augment(RandAugmentPolicy(magnitude=5, prob=1.0), "random", 1, 0, IDS)
    assert set(np.abs(fixed.arguments[fixed.ops == Op.ROTATE])) == {15.0}


def test_levels_above_ten_stay_executable() -> None:
    ops = np.array([list(Op)], np.int8)
    for increasing in (False, True):
        strong = arguments_of(ops, np.full(ops.shape, 20.0), ops % 2 == 0, increasing)[0]
        assert strong[Op.SOLARIZE_ADD] == 128 and strong[Op.POSTERIZE] <= 8
        assert (strong[list(ENHANCE)] >= 0.1).all()


def test_colour_jitter_orders_and_bounds() -> None:
    drawn = color_jitter(0.4, 1, 0, IDS)
    assert (np.sort(drawn.ops, axis=1) == [Op.COLOR, Op.CONTRAST, Op.BRIGHTNESS]).all()
    orders, counts = np.unique(drawn.ops, axis=0, return_counts=True)
    assert len(orders) == 6 and np.allclose(counts / len(IDS), 1 / 6, atol=0.012)
    assert 0.6 <= drawn.arguments.min() < 0.601 and 1.399 < drawn.arguments.max() <= 1.4
    assert color_jitter(1.0, 1, 0, IDS).arguments.min() >= 0
