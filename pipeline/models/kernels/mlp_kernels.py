"""The elementwise parts of the MLP half, for matrix products that a library computes.

Maps are (B, N, C) contiguous, N = H W positions: a channels_last map's memory. Drop path's
scales are (B,) of any float dtype and stride, None is ones.
"""

# Triton types a kernel as a plain function: without launch options, a constexpr without its value.
# pyright: reportCallIssue=false, reportArgumentType=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from pipeline.models.kernels.activations import activation, derivative
from pipeline.models.kernels.drop_scales import scale_arguments, scale_of
from pipeline.models.kernels.statistics import store_partial, tile_moments

_FLAT = 4096
"""Elements of a program where channels do not matter."""
_ROWS = 64
"""Positions of a program's tile where they do."""


@triton.jit
def _normalise_kernel(x, means, rstds, normalised, size, BLOCK: tl.constexpr):
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    first = image.to(tl.int64) * size
    value = tl.load(x + first + place, mask=place < size, other=0.0).to(tl.float32)
    result = (value - tl.load(means + image)) * tl.load(rstds + image)
    tl.store(normalised + first + place, result.to(normalised.dtype.element_ty), mask=place < size)


def normalise(x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    """(x - mean) rstd of each image; x: (B, N, C), mean and rstd: (B,) fp32."""
    normalised = torch.empty_like(x)
    size = x[0].numel()
    _normalise_kernel[(triton.cdiv(size, _FLAT), len(x))](
        x, mean, rstd, normalised, size, BLOCK=_FLAT, num_warps=4
    )
    return normalised


@triton.jit
def _activate_kernel(
    u, scales, scales_stride, HAS_SCALES: tl.constexpr, v, size,
    ACT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    first = image.to(tl.int64) * size
    result = activation(
        tl.load(u + first + place, mask=place < size, other=0.0).to(tl.float32), ACT
    )
    result *= scale_of(image, scales, scales_stride, HAS_SCALES)
    tl.store(v + first + place, result.to(v.dtype.element_ty), mask=place < size)


def activate(u: Tensor, scales: Tensor | None, act: str) -> Tensor:
    """scales × act(u); u: (B, N, K)."""
    v = torch.empty_like(u)
    size = u[0].numel()
    _activate_kernel[(triton.cdiv(size, _FLAT), len(u))](
        u, *scale_arguments(scales, v), v, size,
        ACT=act, BLOCK=_FLAT, num_warps=8,
    )  # fmt: skip
    return v


@triton.jit
def _join_kernel(
    x, z, layer_scale, bias, scales, scales_stride, HAS_SCALES: tl.constexpr,
    y, partials, positions, channels,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    blocks = tl.cdiv(channels, BLOCK)
    row = tl.program_id(0) // blocks * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = column < channels
    mask = (row < positions)[:, None] & inside[None, :]
    first = image.to(tl.int64) * positions * channels
    place = row[:, None] * channels + column[None, :]
    shift = tl.load(layer_scale + column, mask=inside, other=0.0).to(tl.float32)
    shift *= tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    shift *= scale_of(image, scales, scales_stride, HAS_SCALES)
    value = tl.load(x + first + place, mask=mask, other=0.0).to(tl.float32)
    value += tl.load(z + first + place, mask=mask, other=0.0).to(tl.float32)
    stored = (value + shift[None, :]).to(y.dtype.element_ty)
    tl.store(y + first + place, stored, mask=mask)
    mean, squares, count = tile_moments(stored.to(tl.float32), mask)
    tile = image * tl.num_programs(0) + tl.program_id(0)
    store_partial(partials, tile, mean, squares, count)


def join(
    x: Tensor, z: Tensor, layer_scale: Tensor, bias: Tensor, scales: Tensor | None
) -> tuple[Tensor, Tensor]:
    """x + z + scales × layer_scale × bias, and its partial statistics.

    x, z: (B, N, C); layer_scale, bias: (C,). The partials: (B, tiles, 3) fp32, for ``merge``.
    """
    images, positions, channels = x.shape
    y = torch.empty_like(x)
    block = _block(channels)
    tiles = triton.cdiv(positions, _ROWS) * triton.cdiv(channels, block)
    partials = torch.empty(images, tiles, 3, device=x.device)
    _join_kernel[(tiles, images)](
        x, z, layer_scale, bias, *scale_arguments(scales, y), y, partials, positions, channels,
        ROWS=_ROWS, BLOCK=block, num_warps=8,
    )  # fmt: skip
    return y, partials


@triton.jit
def _activation_gradient_kernel(
    dv, u, rstds, scales, scales_stride, HAS_SCALES: tl.constexpr,
    sums, products, positions, hidden,
    ACT: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    blocks = tl.cdiv(hidden, BLOCK)
    tile = tl.program_id(0) // blocks
    row = tile * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    mask = (row < positions)[:, None] & (column < hidden)[None, :]
    first = image.to(tl.int64) * positions * hidden
    place = row[:, None] * hidden + column[None, :]
    factor = tl.load(rstds + image)
    factor *= scale_of(image, scales, scales_stride, HAS_SCALES)
    value = tl.load(u + first + place, mask=mask, other=0.0).to(tl.float32)
    gradient = tl.load(dv + first + place, mask=mask, other=0.0).to(tl.float32)
    stored = (factor * gradient * derivative(value, ACT)).to(dv.dtype.element_ty)
    tl.store(dv + first + place, stored, mask=mask)
    rounded = stored.to(tl.float32)
    tiles = tl.num_programs(0) // blocks
    partial = sums + (image * tiles + tile) * hidden + column
    tl.store(partial, tl.sum(rounded, 0), mask=column < hidden)
    tl.store(products + image * tl.num_programs(0) + tl.program_id(0), tl.sum(rounded * value))


def activation_gradient_(
    dv: Tensor, u: Tensor, rstd: Tensor, scales: Tensor | None, act: str
) -> tuple[Tensor, Tensor]:
    """Make dv into du = rstd × scales × dv × act'(u), in place; and the sums of du.

    dv, u: (B, N, K); rstd: (B,) fp32. Returns the sums over a tile's positions (B, tiles, K),
    and the sums of du u over tiles (B, more tiles), both fp32 and of du as rounded.
    """
    images, positions, hidden = u.shape
    block = _block(hidden)
    tiles, blocks = triton.cdiv(positions, _ROWS), triton.cdiv(hidden, block)
    sums = torch.empty(images, tiles, hidden, device=u.device)
    products = torch.empty(images, tiles * blocks, device=u.device)
    _activation_gradient_kernel[(tiles * blocks, images)](
        dv, u, rstd, *scale_arguments(scales, u), sums, products, positions, hidden,
        ACT=act, ROWS=_ROWS, BLOCK=block, num_warps=8,
    )  # fmt: skip
    return sums, products


@triton.jit
def _input_gradient_kernel(
    g, dxhat, x, means, terms, dx, sums, positions, channels,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    blocks = tl.cdiv(channels, BLOCK)
    tile = tl.program_id(0) // blocks
    row = tile * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    mask = (row < positions)[:, None] & (column < channels)[None, :]
    first = image.to(tl.int64) * positions * channels
    place = row[:, None] * channels + column[None, :]
    shift, slope = tl.load(terms + image * 2), tl.load(terms + image * 2 + 1)
    of_output = tl.load(g + first + place, mask=mask, other=0.0).to(tl.float32)
    of_norm = tl.load(dxhat + first + place, mask=mask, other=0.0).to(tl.float32)
    value = tl.load(x + first + place, mask=mask, other=0.0).to(tl.float32)
    gradient = of_output + of_norm - shift - slope * (value - tl.load(means + image))
    tl.store(dx + first + place, gradient.to(dx.dtype.element_ty), mask=mask)
    tiles = tl.num_programs(0) // blocks
    partial = sums + (image * tiles + tile) * channels + column
    tl.store(partial, tl.sum(of_output, 0), mask=column < channels)


def input_gradient(
    g: Tensor, dxhat: Tensor, x: Tensor, mean: Tensor, terms: Tensor
) -> tuple[Tensor, Tensor]:
    """g + dxhat - shift - slope (x - mean), and the sums of g over a tile's positions.

    g, dxhat (times rstd), x: (B, N, C); mean: (B,) fp32; terms: (B, 2) fp32 of ``hidden_sums``.
    The sums: (B, tiles, C) fp32.
    """
    images, positions, channels = x.shape
    dx = torch.empty_like(x)
    block = _block(channels)
    tiles, blocks = triton.cdiv(positions, _ROWS), triton.cdiv(channels, block)
    sums = torch.empty(images, tiles, channels, device=x.device)
    _input_gradient_kernel[(tiles * blocks, images)](
        g, dxhat, x, mean, terms, dx, sums, positions, channels,
        ROWS=_ROWS, BLOCK=block, num_warps=8,
    )  # fmt: skip
    return dx, sums


def _block(columns: int) -> int:
    """Columns of a tile: the one of 128 and 64 that pads less, so lines are read whole."""
    return min(128, 64, key=lambda block: -(-columns // block) * block)
