"""What holds for ``mlp_half`` on any device: checks for the interpreter here and for a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.models.kernels.folding import Weights
from pipeline.models.kernels.mlp_half import Products, mlp_half
from pipeline.models.kernels.statistics import Statistics, statistics_of
from pipeline.models.metaformer import LayerScale

EPS = 1e-5
# Of the norm of the difference to float64 by the norm of the result.
BOUNDS = {torch.bfloat16: 1e-2, torch.float32: 1e-5}
_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}


@dataclass(frozen=True)
class Case:
    """A half at some shape."""

    images: int
    channels: int
    height: int
    width: int
    dtype: torch.dtype
    products: Products
    act: Literal["gelu", "relu", "silu"] = "gelu"
    layer_scale: float = 1.0
    has_drop: bool = True

    def __str__(self) -> str:
        shape = f"{self.images}x{self.channels}x{self.height}x{self.width}"
        return f"{shape}-{self.act}-{str(self.dtype)[6:]}-{self.products}"


_BF16, _FP32 = torch.bfloat16, torch.float32
DEVICE_CASES = [
    Case(8, 96, 56, 56, _BF16, "triton"),
    Case(8, 96, 56, 56, _BF16, "library"),
    Case(8, 192, 28, 28, _BF16, "triton", layer_scale=1e-6),
    Case(8, 384, 14, 14, _BF16, "library", layer_scale=1e-6),
    Case(8, 768, 7, 7, _BF16, "triton"),
    Case(3, 100, 13, 7, _BF16, "triton", act="silu"),
    Case(3, 20, 7, 7, _FP32, "triton", act="relu", has_drop=False),
    Case(1, 3, 1, 1, _FP32, "library"),
]
"""For a GPU: M48 at 224 px, and what is odd. The interpreter would take minutes."""


@dataclass(frozen=True)
class Inputs:
    """Fresh random ones of a case, on the device."""

    x: Tensor
    """Mean 3 deviations from 0, so that a formula that cancels shows."""
    weights: Weights
    """gamma has zeros."""
    drop_scales: Tensor | None
    """Some of them 0 where there are several images; not contiguous."""
    g: Tensor


def inputs(case: Case, seed: int, device: str) -> Inputs:
    """The same for the same seed, on any device."""
    generator = torch.Generator().manual_seed(seed)
    channels, hidden = case.channels, 4 * case.channels

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def on_device(tensor: Tensor) -> Tensor:
        return tensor.to(device, case.dtype)

    gamma = 1 + normal(channels) / 2
    gamma[:: channels // 2 + 1] = 0
    weights = Weights(
        gamma,
        normal(channels),
        normal(hidden, channels, 1, 1) / channels**0.5,
        normal(hidden),
        normal(channels, hidden, 1, 1) / hidden**0.5,
        normal(channels),
        case.layer_scale * (0.5 + torch.rand(channels, generator=generator)),
    )
    shape = case.images, channels, case.height, case.width
    scales = torch.full((case.images, 2), 1.25)
    scales[1::2] = 0
    return Inputs(
        on_device(3 + normal(*shape)).contiguous(memory_format=torch.channels_last),
        Weights(*map(on_device, weights)),
        scales.to(device)[:, 0] if case.has_drop else None,
        on_device(normal(*shape)),
    )


Results = dict[str, Tensor]
"""The output as y, and the gradient of x and of each parameter by name."""


def fused(case: Case, given: Inputs) -> tuple[Results, Statistics]:
    """By the kernels, their outputs poisoned; with the statistics of y."""
    x, weights = _leaves(given, given.x.dtype)
    with poisoned_outputs():
        y, statistics = mlp_half(
            x, statistics_of(given.x, EPS), *weights, given.drop_scales, case.act, EPS,
            case.products,
        )  # fmt: skip
        y.backward(given.g)
    return _results(y, x, weights), statistics


def plain(case: Case, given: Inputs, dtype: torch.dtype) -> Results:
    """By PyTorch's own modules, as the model has them without kernels, in ``dtype``."""
    x, weights = _leaves(given, dtype)
    channels, hidden = case.channels, 4 * case.channels
    branch = nn.Sequential(
        nn.GroupNorm(1, channels, eps=EPS),
        nn.Conv2d(channels, hidden, 1),
        _ACTIVATIONS[case.act](),
        nn.Conv2d(hidden, channels, 1),
        LayerScale(channels, 1.0),
    ).to(x.device, dtype)
    named = dict(zip(dict(branch.named_parameters()), weights, strict=True))
    z = torch.func.functional_call(branch, named, (x,))
    if given.drop_scales is not None:
        z = z * given.drop_scales.to(dtype)[:, None, None, None]
    y = x + z
    y.backward(given.g.to(dtype))
    return _results(y, x, weights)


def check_against_float64(case: Case, seed: int, device: str) -> None:
    """Output, statistics and every gradient, by relative norm."""
    given = inputs(case, seed, device)
    results, statistics = fused(case, given)
    right = plain(case, given, torch.float64)
    errors = {name: relative_error(results[name], right[name]) for name in right}
    bound = BOUNDS[case.dtype]
    # Not their maximum: that of a NaN and a number may be the number.
    assert all(error <= bound for error in errors.values()), (f"seed {seed}", case, errors)
    # Of y as stored: beside what its own rounding made of it.
    stored = results["y"].double()
    variance = stored.var((1, 2, 3), correction=0)
    torch.testing.assert_close(
        statistics.mean.double(), stored.mean((1, 2, 3)), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        statistics.rstd.double(), (variance + EPS).rsqrt(), rtol=1e-5, atol=0
    )
    for name, parameter in given.weights._asdict().items():
        assert results[name].shape == parameter.shape
        assert results[name].dtype == parameter.dtype


def check_same_bits(case: Case, seed: int, device: str) -> None:
    """Twice the same call gives the same bits."""
    given = inputs(case, seed, device)
    first, second = fused(case, given)[0], fused(case, given)[0]
    for name, result in first.items():
        assert torch.equal(result, second[name]), (f"seed {seed}", case, name)


@contextmanager
def poisoned_outputs() -> Iterator[None]:
    """torch.empty and its kin give NaN, so what a kernel leaves unwritten is seen."""
    was, filled = (
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        assert torch.empty(8).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(was)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def relative_error(result: Tensor, right: Tensor) -> float:
    """‖result - right‖ / ‖right‖ in float64; right may not be 0."""
    norm = right.double().norm()
    assert norm > 0
    return ((result.double() - right.double()).norm() / norm).item()


def _leaves(given: Inputs, dtype: torch.dtype) -> tuple[Tensor, Weights]:
    x, *weights = (
        tensor.detach().to(dtype, copy=True).requires_grad_()
        for tensor in (given.x, *given.weights)
    )
    return x, Weights(*weights)


def _results(y: Tensor, x: Tensor, weights: Weights) -> Results:
    results = {"y": y.detach()}
    for name, leaf in {"x": x, **weights._asdict()}.items():
        assert leaf.grad is not None, name
        results[name] = leaf.grad
    return results
