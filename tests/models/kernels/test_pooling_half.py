"""The pooling half and the statistics in Triton's interpreter, beside PyTorch in float64."""

import random
from collections.abc import Iterator

import pytest

pytest.importorskip("triton")

import torch
import triton
from torch.autograd.graph import saved_tensors_hooks

from pipeline.models.kernels.passes import kept_maps
from pipeline.models.kernels.pooling_half import branch_sums, pooling_half
from pipeline.models.kernels.statistics import merge, statistics_of
from tests.models.kernels.nearest_even import nearest_even
from tests.models.kernels.pooling_checks import (
    BF16,
    EPS,
    FP32,
    Case,
    check_against_float64,
    check_same_bits,
    check_statistics,
    fused,
    inputs,
)

pytestmark = pytest.mark.skipif(
    not triton.knobs.runtime.interpret, reason="tests/gpu has these checks for a GPU"
)
CASES = [
    Case(3, 3, 7, 7, BF16),
    Case(2, 96, 7, 5, BF16, layer_scale=1e-6),
    Case(2, 100, 9, 1, FP32),
    Case(1, 20, 8, 9, FP32, has_drop=False),
    Case(2, 1, 1, 1, FP32, has_drop=False),
    # More columns and more rows than a tile has.
    Case(1, 64, 9, 18, FP32),
    # Windows larger than the map too.
    Case(2, 3, 7, 6, FP32, 5, layer_scale=1e-6),
    Case(1, 3, 3, 4, BF16, 7),
    Case(1, 3, 5, 10, FP32, 9),
]


@pytest.fixture(autouse=True)
def _rounding() -> Iterator[None]:
    with nearest_even():
        yield


@pytest.fixture
def seed() -> int:
    return random.randrange(2**31)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_and_every_gradient_are_those_of_float64(case: Case, seed: int) -> None:
    check_against_float64(case, seed, "cpu")


def test_the_same_bits_twice(seed: int) -> None:
    check_same_bits(Case(2, 20, 8, 5, BF16), seed, "cpu")


def test_a_dropped_image_passes_through_and_leaves_no_gradient(seed: int) -> None:
    given = inputs(case := Case(2, 8, 3, 3, BF16), seed, "cpu")
    results = fused(case, given)[0]
    assert torch.equal(results["y"][1], given.x[1])
    assert torch.equal(results["x"][1], given.g[1])
    assert not torch.equal(results["y"][0], given.x[0])


def test_only_the_map_is_kept_for_the_backward_pass() -> None:
    given = inputs(Case(2, 16, 4, 4, BF16), 0, "cpu")
    x = given.x.requires_grad_()
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape[0] == len(x):
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        pooling_half(x, statistics_of(x, EPS), *given.parameters.values(), None, 3, EPS)
    assert kept_maps("pooling") <= sum(kept.values()) / x.numel() < kept_maps("pooling") + 0.02


def test_sums_over_more_tiles_channels_and_images_than_a_loop_takes_at_once(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    images, tiles, channels = 67, 19, 37
    products = torch.randn(images, tiles, channels, generator=draw)
    gamma, scale = torch.randn(2, channels, generator=draw)
    rstd, drop = torch.rand(2, images, generator=draw)
    sums, gradients = branch_sums(products, rstd, gamma, gamma, scale, drop, channels)
    expected = products.double().sum(1)
    by_image = drop * rstd**3 * (expected * gamma * scale).sum(1) / channels
    torch.testing.assert_close(sums.double(), by_image, rtol=1e-4, atol=1e-6)
    total = ((drop * rstd)[:, None] * expected).sum(0)
    for found, right in zip(gradients, (total * scale, 0 * total, total * gamma), strict=True):
        torch.testing.assert_close(found.double(), right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize("offset", [0, -1000])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 96, 11, 9), (3, 1, 1, 1)])
def test_statistics_do_not_cancel(
    shape: tuple[int, ...], offset: int, dtype: torch.dtype, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = (offset + torch.randn(shape, generator=draw)).to(dtype)
    check_statistics(statistics_of(x.to(memory_format=torch.channels_last), EPS), x)


def test_merging_weighs_tiles_by_their_counts(seed: int) -> None:
    """More tiles than the kernel's loop takes at once, of any size, some empty."""
    draw = torch.Generator().manual_seed(seed)
    values = 100 + torch.randn(1, 3000, generator=draw)
    counts = [1, *(int(n) for n in torch.randint(0, 4, (1200,), generator=draw))]
    tiles = values[0, : sum(counts)].split(counts)
    partials = [
        (tile.mean(), (tile - tile.mean()).square().sum(), len(tile)) if len(tile) else (0, 0, 0)
        for tile in tiles
    ]
    found = merge(torch.tensor([partials]), EPS)
    check_statistics(found, values[:, : sum(counts), None, None])
