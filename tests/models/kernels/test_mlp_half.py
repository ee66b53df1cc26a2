"""The MLP half in Triton's interpreter, beside PyTorch's own in float64."""

import random
from collections.abc import Iterator

import pytest

pytest.importorskip("triton")

import torch
import triton
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from pipeline.models.kernels.mlp_half import mlp_half, uses_triton
from pipeline.models.kernels.passes import kept_maps
from pipeline.models.kernels.statistics import statistics_of
from tests.models.kernels.mlp_checks import (
    EPS,
    Case,
    check_against_float64,
    check_same_bits,
    fused,
    inputs,
    plain,
    relative_error,
)
from tests.models.kernels.nearest_even import nearest_even

pytestmark = pytest.mark.skipif(
    not triton.knobs.runtime.interpret, reason="tests/gpu has these checks for a GPU"
)
BF16, FP32 = torch.bfloat16, torch.float32
WAYS = ("library", "triton")


@pytest.fixture(autouse=True)
def _rounding() -> Iterator[None]:
    with nearest_even():
        yield


@pytest.fixture
def seed() -> int:
    return random.randrange(2**31)


CASES = [
    case
    for way in WAYS
    for case in (
        Case(3, 20, 7, 7, BF16, way),
        Case(2, 100, 5, 7, BF16, way, act="silu", layer_scale=1e-6),
        Case(3, 3, 13, 1, FP32, way, act="relu"),
        Case(1, 20, 9, 8, FP32, way, layer_scale=1e-6, has_drop=False),
        Case(1, 3, 1, 1, FP32, way, has_drop=False),
        # More positions and hidden channels than a tile has, and more images than a loop's step.
        Case(2, 33, 12, 13, FP32, way),
        Case(33, 3, 1, 2, FP32, way, act="silu"),
    )
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_and_every_gradient_are_those_of_float64(case: Case, seed: int) -> None:
    check_against_float64(case, seed, "cpu")


@pytest.mark.parametrize("way", WAYS)
def test_the_same_bits_twice(way: str, seed: int) -> None:
    check_same_bits(Case(2, 20, 7, 9, BF16, way), seed, "cpu")


def test_both_ways_are_as_near_to_each_other_as_to_float64(seed: int) -> None:
    case = Case(2, 20, 7, 7, FP32, "library")
    given = inputs(case, seed, "cpu")
    library = fused(case, given)[0]
    triton_s = fused(Case(2, 20, 7, 7, FP32, "triton"), given)[0]
    for name, result in library.items():
        assert relative_error(triton_s[name], result) < 5e-6, name


def test_bf16_is_no_less_exact_than_eager_pytorch(seed: int) -> None:
    """As a whole: both round, at different places."""
    case = Case(2, 32, 7, 7, BF16, "triton")
    given = inputs(case, seed, "cpu")
    right, eager, ours = (
        plain(case, given, torch.float64),
        plain(case, given, BF16),
        fused(case, given)[0],
    )
    ours_total = sum(relative_error(ours[name], right[name]) for name in right)
    eager_total = sum(relative_error(eager[name], right[name]) for name in right)
    assert ours_total < 1.2 * eager_total, f"seed {seed}"


def test_a_dropped_image_passes_through_and_leaves_no_gradient(seed: int) -> None:
    case = Case(2, 8, 3, 3, BF16, "triton")
    given = inputs(case, seed, "cpu")
    results = fused(case, given)[0]
    assert torch.equal(results["y"][1], given.x[1])
    assert torch.equal(results["x"][1], given.g[1])
    assert not torch.equal(results["y"][0], given.x[0])


@pytest.mark.parametrize("way", WAYS)
def test_activation_checkpointing_gives_the_same_bits(way: str, seed: int) -> None:
    case = Case(2, 8, 5, 3, BF16, way)
    given = inputs(case, seed, "cpu")
    kept = fused(case, given)[0]
    x = given.x.clone().requires_grad_()
    weights = [weight.clone().requires_grad_() for weight in given.weights]

    def half(x: torch.Tensor) -> torch.Tensor:
        statistics = statistics_of(x.detach(), EPS)
        return mlp_half(x, statistics, *weights, given.drop_scales, case.act, EPS, way)[0]

    y = checkpoint(half, x, use_reentrant=False)
    y.backward(given.g)
    for result, again in zip(kept.values(), (y, x.grad, *(w.grad for w in weights)), strict=True):
        assert torch.equal(result, again)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_kept_of_each_image_is_what_passes_says(way: str) -> None:
    case = Case(2, 64, 8, 8, BF16, way)
    given = inputs(case, 0, "cpu")
    leaves = [tensor.requires_grad_() for tensor in (given.x, *given.weights)]
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape[0] == len(given.x):
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        mlp_half(leaves[0], statistics_of(given.x, EPS), *leaves[1:], None, "gelu", EPS, way)
    of_a_map = given.x.numel() * given.x.element_size()
    assert kept_maps("mlp") <= sum(kept.values()) / of_a_map < kept_maps("mlp") + 0.01


def test_triton_computes_the_products_that_memory_bounds() -> None:
    m48 = [uses_triton("auto", channels, BF16) for channels in (96, 192, 384, 768)]
    assert m48 == [True, True, False, False]
    assert not uses_triton("auto", 96, torch.float32)
    assert uses_triton("triton", 768, torch.float32)
    assert not uses_triton("library", 96, BF16)
