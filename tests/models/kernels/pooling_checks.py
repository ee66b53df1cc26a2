"""What holds for ``pooling_half`` on any device: checks for the interpreter and for a GPU."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.models.kernels.pooling_half import pooling_half
from pipeline.models.kernels.statistics import Statistics, statistics_of
from tests.models.kernels.mlp_checks import BOUNDS, EPS, Results, poisoned_outputs, relative_error

PARAMETERS = ("gamma", "beta", "layer_scale")


@dataclass(frozen=True)
class Case:
    """A half at some shape."""

    images: int
    channels: int
    height: int
    width: int
    dtype: torch.dtype
    pool_size: int = 3
    layer_scale: float = 1.0
    has_drop: bool = True

    def __str__(self) -> str:
        shape = f"{self.images}x{self.channels}x{self.height}x{self.width}"
        return f"{shape}-pool{self.pool_size}-{str(self.dtype)[6:]}"


BF16, FP32 = torch.bfloat16, torch.float32
DEVICE_CASES = [
    # M48's stages.
    *(Case(8, c, side, side, BF16) for c, side in ((96, 56), (192, 28), (384, 14), (768, 7))),
    Case(8, 96, 56, 56, FP32, layer_scale=1e-6),
    Case(3, 100, 13, 41, BF16, layer_scale=1e-6),
    Case(2, 3, 7, 1, FP32),
    Case(5, 1, 30, 9, BF16, has_drop=False),
    *(Case(4, 320, 14, 14, BF16, pool_size) for pool_size in (5, 7, 9)),
]


@dataclass(frozen=True)
class Inputs:
    """Fresh random ones of a case, on the device."""

    x: Tensor
    """Mean 3 deviations from 0, so that a formula that cancels shows."""
    parameters: dict[str, Tensor]
    drop_scales: Tensor | None
    """Some of them 0 where there are several images; not contiguous."""
    g: Tensor
    """In NCHW memory, as a layer of PyTorch may hand it over."""


def inputs(case: Case, seed: int, device: str) -> Inputs:
    """The same for the same seed, on any device."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, case.dtype)

    shape = case.images, case.channels, case.height, case.width
    scales = torch.full((case.images, 2), 1.25)
    scales[1::2] = 0
    return Inputs(
        (3 + normal(*shape)).contiguous(memory_format=torch.channels_last),
        {name: normal(case.channels) for name in PARAMETERS[:2]}
        | {"layer_scale": case.layer_scale * normal(case.channels)},
        scales.to(device, case.dtype)[:, 0] if case.has_drop else None,
        normal(*shape),
    )


def fused(case: Case, given: Inputs) -> tuple[Results, Statistics]:
    """By the kernels, their outputs poisoned; with the statistics of y."""
    x, parameters = _leaves(given, given.x.dtype)
    with poisoned_outputs():
        y, statistics = pooling_half(
            x, statistics_of(given.x, EPS), *parameters.values(), given.drop_scales,
            case.pool_size, EPS,
        )  # fmt: skip
        y.backward(given.g)
    return _results(y, x, parameters), statistics


def plain(case: Case, given: Inputs, dtype: torch.dtype) -> Results:
    """By PyTorch's own modules, as the model has them without kernels, in ``dtype``."""
    x, parameters = _leaves(given, dtype)
    gamma, beta, layer_scale = parameters.values()
    n = nn.functional.group_norm(x, 1, gamma, beta, EPS)
    pool = nn.AvgPool2d(case.pool_size, 1, case.pool_size // 2, count_include_pad=False)
    z = (pool(n) - n) * layer_scale[:, None, None]
    if given.drop_scales is not None:
        z = z * given.drop_scales.to(dtype)[:, None, None, None]
    y = x + z
    y.backward(given.g.to(dtype))
    return _results(y, x, parameters)


def check_against_float64(case: Case, seed: int, device: str) -> None:
    """Output, what the branch adds to x, statistics and every gradient, by relative norm."""
    given = inputs(case, seed, device)
    results, statistics = fused(case, given)
    right = plain(case, given, torch.float64)
    # In exact numbers it is 0, to which nothing is relative.
    assert not results.pop("beta").any(), case
    assert right.pop("beta").norm() < 1e-9 * given.g.double().norm()
    errors = {name: _error(results[name], right[name]) for name in right}
    bound = BOUNDS[case.dtype]
    # Each by itself: the largest of a NaN and a number may be the number.
    assert all(error <= bound for error in errors.values()), (f"seed {seed}", case, errors)
    if case.dtype == FP32 and case.layer_scale == 1.0:
        # x would hide an error of the branch; in bf16 its own rounding does.
        added = results["y"].double() - given.x.double()
        error = _error(added, right["y"] - given.x.double())
        assert error <= 10 * bound, (f"seed {seed}", case, error)
    assert results["y"].is_contiguous(memory_format=torch.channels_last)
    check_statistics(statistics, results["y"])


def check_statistics(found: Statistics, y: Tensor) -> None:
    """Of y as stored."""
    stored = y.double()
    deviation = (stored.var((1, 2, 3), correction=0) + EPS).sqrt()
    mean = stored.mean((1, 2, 3))
    scale = deviation + mean.abs()
    assert ((found.mean - mean).abs() / scale).max() < 2e-6
    assert (found.rstd * deviation - 1).abs().max() < 2e-6


def check_same_bits(case: Case, seed: int, device: str) -> None:
    """Twice the same call gives the same bits."""
    given = inputs(case, seed, device)
    (first, statistics), (second, again) = fused(case, given), fused(case, given)
    for name, result in first.items():
        assert torch.equal(result, second[name]), (f"seed {seed}", case, name)
    assert torch.equal(statistics.mean, again.mean)
    assert torch.equal(statistics.rstd, again.rstd)


def _error(result: Tensor, right: Tensor) -> float:
    """Relative, but where right is 0 (a window on a map of one place): then result must be."""
    return relative_error(result, right) if right.any() else float(result.abs().max())


def _leaves(given: Inputs, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().to(dtype, copy=True).requires_grad_()

    return leaf(given.x), {name: leaf(value) for name, value in given.parameters.items()}


def _results(y: Tensor, x: Tensor, parameters: dict[str, Tensor]) -> Results:
    leaves = {"x": x} | parameters
    gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    assert gradients.keys() == leaves.keys()
    return {"y": y.detach()} | gradients
