"""The second half of a block as one function: x + drop × scale × MLP(norm(x))."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.models.kernels import linear_kernels, mlp_kernels
from pipeline.models.kernels.folding import Folded, Weights, fold, unfold
from pipeline.models.kernels.statistics import Statistics, merge
from pipeline.models.kernels.sums import hidden_sums, image_sums

Products = Literal["auto", "library", "triton"]
"""Who computes the matrix products: a library between elementwise kernels, or Triton with these
in its epilogues. auto goes by the channels and the dtype."""

_MAX_TRITON_CHANNELS = 256
"""A product with the hidden layer of 4 C channels does 8 C² operations a position for 10 C bytes
of bf16 in operands and result: 0.8 C per byte. By its data sheet an H200 does 206 in the time of
a byte (989 TFLOP/s, 4.8 TB/s): up to 257 channels memory bounds the product, and what an epilogue
spares is time saved. Beyond, the product itself counts, and there a library is ahead."""


def mlp_half(
    x: Tensor,
    statistics: Statistics,
    gamma: Tensor,
    beta: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    layer_scale: Tensor,
    drop_scales: Tensor | None,
    act: Literal["gelu", "relu", "silu"],
    eps: float,
    products: Products = "auto",
) -> tuple[Tensor, Statistics]:
    """y = x + drop_scales × layer_scale × (W2 act(W1 GroupNorm1(x) + b1) + b2), and its statistics.

    x: (B, C, H, W), bf16 or fp32, channels_last; statistics: x's own (its gradient goes through
    them); w1 (4C, C, 1, 1), w2 (C, 4C, 1, 1), b1 (4C,), others (C,); drop_scales (B,) or None,
    ones. y is like x. For the backward x is kept, the hidden layer before and after the
    activation, and the weights as the products take them. Gradients of parameters are summed in
    fp32, in a fixed order, and rounded once.
    """
    y, mean, rstd = _MlpHalf.apply(
        x, *statistics, gamma, beta, w1, b1, w2, b2, layer_scale, drop_scales, act, eps, products
    )
    return y, Statistics(mean, rstd)


def uses_triton(products: Products, channels: int, dtype: torch.dtype) -> bool:
    """The rule which products are Triton's: not in fp32, where they have no tensor cores."""
    is_bound_by_memory = dtype == torch.bfloat16 and channels <= _MAX_TRITON_CHANNELS
    return products == "triton" or (products == "auto" and is_bound_by_memory)


class _MlpHalf(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        rstd: Tensor,
        gamma: Tensor,
        beta: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
        layer_scale: Tensor,
        drop_scales: Tensor | None,
        act: str,
        eps: float,
        products: Products,
    ) -> tuple[Tensor, Tensor, Tensor]:
        weights = Weights(gamma, beta, w1, b1, w2, b2, layer_scale)
        rows = _rows(x)
        ctx.act, ctx.triton = act, uses_triton(products, x.shape[1], x.dtype)
        folded = fold(weights, x.dtype)
        if ctx.triton:
            u, v = linear_kernels.hidden_layer(rows, folded, mean, rstd, drop_scales, act)
            y, partials = linear_kernels.output_layer(v, rows, folded, layer_scale, b2, drop_scales)
        else:
            normalised = mlp_kernels.normalise(rows, mean, rstd)
            u = torch.nn.functional.linear(normalised, folded.w1, folded.b1)
            v = mlp_kernels.activate(u, drop_scales, act)
            z = torch.nn.functional.linear(v, folded.w2)
            y, partials = mlp_kernels.join(rows, z, layer_scale, b2, drop_scales)
        statistics = merge(partials, eps)
        ctx.save_for_backward(x, mean, rstd, u, v, drop_scales, *folded, *weights)
        ctx.mark_non_differentiable(*statistics)
        ctx.set_materialize_grads(False)
        return _map(y, x), statistics.mean, statistics.rstd

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]: the decorator is untyped
        ctx: Any, *gradients: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        # Nothing comes for the statistics; and nothing at all where only these were used.
        g = gradients[0]
        if g is None:
            return (None,) * 14
        x, mean, rstd, u, v, drop_scales, *rest = ctx.saved_tensors
        x = _rows(x)
        folded, weights = Folded(*rest[:4]), Weights(*rest[4:])
        rows = _rows(g.contiguous(memory_format=torch.channels_last))
        if ctx.triton:
            du, sums, products = linear_kernels.hidden_gradient(
                rows, u, folded, rstd, drop_scales, ctx.act
            )
        else:
            du = rows @ folded.w2
            sums, products = mlp_kernels.activation_gradient_(du, u, rstd, drop_scales, ctx.act)
        sums_of_du, terms = hidden_sums(sums, products, folded, rstd, x[0].numel())
        if ctx.triton:
            dx, sums = linear_kernels.input_gradient(rows, du, x, folded, mean, terms)
        else:
            dx, sums = mlp_kernels.input_gradient(rows, du @ folded.w1, x, mean, terms)
        of_weights = unfold(
            weights,
            _over_rows(du, x),
            _over_rows(rows, v),
            sums_of_du,
            image_sums(sums, drop_scales),
            mean,
            rstd,
        )
        return _map(dx, g), None, None, *of_weights, None, None, None, None


def _rows(x: Tensor) -> Tensor:
    """(B, H × W, C) contiguous: a channels_last map's memory."""
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)
    assert rows.is_contiguous(), x.stride()
    return rows


def _map(rows: Tensor, like: Tensor) -> Tensor:
    """(B, C, H, W) of ``like`` in channels_last memory; the inverse of ``_rows``."""
    images, channels, height, width = like.shape
    return rows.view(images, height, width, channels).permute(0, 3, 1, 2)


def _over_rows(left: Tensor, right: Tensor) -> Tensor:
    """leftᵀ right over all positions of all images, (columns, columns) in fp32.

    fp32 also where the maps are bf16: what the mean of x contributes is taken off afterwards.
    """
    left, right = left.flatten(0, 1).t(), right.flatten(0, 1)
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    # PyTorch has that product for CUDA alone.
    return left.float() @ right.float()
