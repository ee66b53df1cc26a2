"""The MLP's weights with the norm's and LayerScale's factors multiplied in, and back.

With n = gamma x̂ + beta: W1 n + b1 = W1' x̂ + b1' for W1' = W1 diag(gamma), b1' = b1 + W1 beta;
and LayerScale(W2 v) = W2' v for W2' = diag(scale) W2. So neither takes a pass over a map.
"""

# Triton types a kernel as a plain function: without launch options, a constexpr without its value.
# pyright: reportCallIssue=false, reportArgumentType=false

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS = 8
"""Rows of a weight matrix that one program folds or unfolds."""
_HIDDEN_BLOCK = 512
"""Columns of W2 that it takes at once; of W1 they are fewer."""


class Weights(NamedTuple):
    """The parameters of a block's second half. C channels, K hidden ones; any float dtype."""

    gamma: Tensor
    """(C,)"""
    beta: Tensor
    """(C,)"""
    w1: Tensor
    """(K, C, 1, 1)"""
    b1: Tensor
    """(K,)"""
    w2: Tensor
    """(C, K, 1, 1)"""
    b2: Tensor
    """(C,)"""
    layer_scale: Tensor
    """(C,)"""


class Folded(NamedTuple):
    """What the matrix products take; computed in fp32, rounded once."""

    w1: Tensor
    """(K, C) in the map's dtype."""
    row_sums: Tensor
    """(K,) fp32: the sum of each row of w1 as rounded."""
    b1: Tensor
    """(K,) in the map's dtype."""
    w2: Tensor
    """(C, K) in the map's dtype."""


@triton.jit
def _fold_kernel(
    gamma, beta, w1, b1, w2, layer_scale, folded_w1, row_sums, folded_b1, folded_w2,
    channels, hidden, ROWS: tl.constexpr, CHANNELS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    programs_of_w1 = tl.cdiv(hidden, ROWS)
    if program < programs_of_w1:
        row = program * ROWS + tl.arange(0, ROWS)
        sums = tl.zeros((ROWS,), tl.float32)
        shifts = tl.zeros((ROWS,), tl.float32)
        for start in range(0, channels, CHANNELS):
            column = start + tl.arange(0, CHANNELS)
            inside = column < channels
            mask = (row < hidden)[:, None] & inside[None, :]
            place = row[:, None] * channels + column[None, :]
            weight = tl.load(w1 + place, mask=mask, other=0.0).to(tl.float32)
            factor = tl.load(gamma + column, mask=inside, other=0.0).to(tl.float32)
            shift = tl.load(beta + column, mask=inside, other=0.0).to(tl.float32)
            folded = (weight * factor[None, :]).to(folded_w1.dtype.element_ty)
            tl.store(folded_w1 + place, folded, mask=mask)
            sums += tl.sum(folded.to(tl.float32), 1)
            shifts += tl.sum(weight * shift[None, :], 1)
        bias = tl.load(b1 + row, mask=row < hidden, other=0.0).to(tl.float32) + shifts
        tl.store(row_sums + row, sums, mask=row < hidden)
        tl.store(folded_b1 + row, bias.to(folded_b1.dtype.element_ty), mask=row < hidden)
    else:
        row = (program - programs_of_w1) * ROWS + tl.arange(0, ROWS)
        factor = tl.load(layer_scale + row, mask=row < channels, other=0.0).to(tl.float32)
        for start in range(0, hidden, HIDDEN):
            column = start + tl.arange(0, HIDDEN)
            mask = (row < channels)[:, None] & (column < hidden)[None, :]
            place = row[:, None] * hidden + column[None, :]
            weight = tl.load(w2 + place, mask=mask, other=0.0).to(tl.float32)
            folded = (weight * factor[:, None]).to(folded_w2.dtype.element_ty)
            tl.store(folded_w2 + place, folded, mask=mask)


def fold(weights: Weights, dtype: torch.dtype) -> Folded:
    """The weights that the products take, in ``dtype``, the map's."""
    hidden, channels = weights.w1.shape[:2]
    device = weights.w1.device
    w1 = torch.empty(hidden, channels, dtype=dtype, device=device)
    row_sums = torch.empty(hidden, device=device)
    b1 = torch.empty(hidden, dtype=dtype, device=device)
    w2 = torch.empty(channels, hidden, dtype=dtype, device=device)
    _fold_kernel[(_programs(hidden, channels),)](
        weights.gamma, weights.beta, weights.w1, weights.b1, weights.w2, weights.layer_scale,
        w1, row_sums, b1, w2, channels, hidden,
        ROWS=_ROWS, CHANNELS=_block(channels), HIDDEN=_HIDDEN_BLOCK, num_warps=4,
    )  # fmt: skip
    return Folded(w1, row_sums, b1, w2)


@triton.jit
def _unfold_w1(
    program, gamma, beta, w1, product, image_sums, means, rstds,
    dw1, db1, partials, channels, hidden, images,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, IMAGES: tl.constexpr,
):  # fmt: skip
    row = program * ROWS + tl.arange(0, ROWS)
    bias_gradient = tl.zeros((ROWS,), tl.float32)
    from_means = tl.zeros((ROWS,), tl.float32)
    for start in range(0, images, IMAGES):
        image = start + tl.arange(0, IMAGES)
        present = image < images
        mean = tl.load(means + image, mask=present, other=0.0)
        rstd = tl.load(rstds + image, mask=present, other=1.0)
        mask = present[:, None] & (row < hidden)[None, :]
        place = image[:, None] * hidden + row[None, :]
        sums = tl.load(image_sums + place, mask=mask, other=0.0)
        bias_gradient += tl.sum(sums / rstd[:, None], 0)
        from_means += tl.sum(sums * mean[:, None], 0)
    tl.store(db1 + row, bias_gradient.to(db1.dtype.element_ty), mask=row < hidden)
    for start in range(0, channels, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < channels
        mask = (row < hidden)[:, None] & inside[None, :]
        place = row[:, None] * channels + column[None, :]
        weight = tl.load(w1 + place, mask=mask, other=0.0).to(tl.float32)
        folded = tl.load(product + place, mask=mask, other=0.0) - from_means[:, None]
        factor = tl.load(gamma + column, mask=inside, other=0.0).to(tl.float32)
        shift = tl.load(beta + column, mask=inside, other=0.0).to(tl.float32)
        gradient = folded * factor[None, :] + bias_gradient[:, None] * shift[None, :]
        tl.store(dw1 + place, gradient.to(dw1.dtype.element_ty), mask=mask)
        partial = partials + program * 2 * channels + column
        tl.store(partial, tl.sum(weight * folded, 0), mask=inside)
        tl.store(partial + channels, tl.sum(weight * bias_gradient[:, None], 0), mask=inside)


@triton.jit
def _unfold_w2(
    program, w2, b2, layer_scale, product, image_sums, dw2, db2, dscale, channels, hidden, images,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, IMAGES: tl.constexpr,
):  # fmt: skip
    row = program * ROWS + tl.arange(0, ROWS)
    inside = row < channels
    folded_bias = tl.zeros((ROWS,), tl.float32)
    for start in range(0, images, IMAGES):
        image = start + tl.arange(0, IMAGES)
        mask = (image < images)[:, None] & inside[None, :]
        place = image[:, None] * channels + row[None, :]
        folded_bias += tl.sum(tl.load(image_sums + place, mask=mask, other=0.0), 0)
    factor = tl.load(layer_scale + row, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(b2 + row, mask=inside, other=0.0).to(tl.float32)
    of_scale = bias * folded_bias
    for start in range(0, hidden, BLOCK):
        column = start + tl.arange(0, BLOCK)
        mask = inside[:, None] & (column < hidden)[None, :]
        place = row[:, None] * hidden + column[None, :]
        weight = tl.load(w2 + place, mask=mask, other=0.0).to(tl.float32)
        folded = tl.load(product + place, mask=mask, other=0.0)
        gradient = folded * factor[:, None]
        tl.store(dw2 + place, gradient.to(dw2.dtype.element_ty), mask=mask)
        of_scale += tl.sum(weight * folded, 1)
    tl.store(db2 + row, (factor * folded_bias).to(db2.dtype.element_ty), mask=inside)
    tl.store(dscale + row, of_scale.to(dscale.dtype.element_ty), mask=inside)


@triton.jit
def _unfold_kernel(
    gamma, beta, w1, w2, b2, layer_scale, product1, product2, hidden_sums, output_sums,
    means, rstds, dw1, db1, dw2, db2, dscale, partials, channels, hidden, images,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr, HIDDEN: tl.constexpr, IMAGES: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    programs_of_w1 = tl.cdiv(hidden, ROWS)
    if program < programs_of_w1:
        _unfold_w1(
            program, gamma, beta, w1, product1, hidden_sums, means, rstds,
            dw1, db1, partials, channels, hidden, images, ROWS, CHANNELS, IMAGES,
        )  # fmt: skip
    else:
        _unfold_w2(
            program - programs_of_w1, w2, b2, layer_scale, product2, output_sums,
            dw2, db2, dscale, channels, hidden, images, ROWS, HIDDEN, IMAGES,
        )  # fmt: skip


@triton.jit
def _norm_kernel(partials, dgamma, dbeta, rows, channels, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    of_gamma = tl.zeros((BLOCK,), tl.float32)
    of_beta = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row < rows)[:, None] & (column < channels)[None, :]
        place = row[:, None] * 2 * channels + column[None, :]
        of_gamma += tl.sum(tl.load(partials + place, mask=mask, other=0.0), 0)
        of_beta += tl.sum(tl.load(partials + channels + place, mask=mask, other=0.0), 0)
    tl.store(dgamma + column, of_gamma.to(dgamma.dtype.element_ty), mask=column < channels)
    tl.store(dbeta + column, of_beta.to(dbeta.dtype.element_ty), mask=column < channels)


def unfold(
    weights: Weights,
    product1: Tensor,
    product2: Tensor,
    hidden_sums: Tensor,
    output_sums: Tensor,
    mean: Tensor,
    rstd: Tensor,
) -> Weights:
    """The gradients of the parameters, each in its own dtype and shape, summed in fp32.

    With du the gradient of the hidden layer before its activation, times the image's rstd, and g
    the gradient of the output: product1 = duᵀ x (K, C) and product2 = gᵀ v (C, K), fp32, over all
    rows; hidden_sums (B, K) fp32 sums of du per image, output_sums (B, C) fp32 sums of g per
    image, times drop path's scale; mean and rstd (B,) fp32 of x. As x̂ = (x - mean) rstd,
    duᵀ x̂ is product1 less sum over images of mean × hidden_sums: x̂ itself is not needed.
    """
    images, hidden = hidden_sums.shape
    channels = output_sums.shape[1]
    gradients = Weights(
        *(torch.empty_like(w, memory_format=torch.contiguous_format) for w in weights)
    )
    programs = triton.cdiv(hidden, _ROWS)
    partials = torch.empty(programs, 2, channels, device=mean.device)
    _unfold_kernel[(_programs(hidden, channels),)](
        weights.gamma, weights.beta, weights.w1, weights.w2, weights.b2, weights.layer_scale,
        product1, product2, hidden_sums, output_sums, mean, rstd,
        gradients.w1, gradients.b1, gradients.w2, gradients.b2, gradients.layer_scale, partials,
        channels, hidden, images,
        ROWS=_ROWS, CHANNELS=_block(channels), HIDDEN=_HIDDEN_BLOCK, IMAGES=32, num_warps=4,
    )  # fmt: skip
    _norm_kernel[(triton.cdiv(channels, 16),)](
        partials, gradients.gamma, gradients.beta, programs, channels,
        ROWS=64, BLOCK=16, num_warps=4,
    )  # fmt: skip
    return gradients


def _programs(hidden: int, channels: int) -> int:
    return triton.cdiv(hidden, _ROWS) + triton.cdiv(channels, _ROWS)


def _block(channels: int) -> int:
    """Columns of W1 that a program takes at once."""
    return 128 if channels <= 128 else 256
