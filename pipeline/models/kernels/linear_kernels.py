"""The MLP's matrix products in Triton, with the elementwise parts in their epilogues.

Maps are (B, N, C) contiguous, N = H W positions; a tile lies within one image, so that the
image's scalars are scalars and its sums need no other tile. Accumulators are fp32. Block sizes
are pinned by shape: a choice by timing would round differently from machine to machine.
"""

# Triton types a kernel as a plain function: without launch options, a constexpr without its value.
# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from pipeline.models.kernels.activations import activation, derivative
from pipeline.models.kernels.drop_scales import scale_arguments, scale_of
from pipeline.models.kernels.folding import Folded
from pipeline.models.kernels.statistics import store_partial, tile_moments

_WIDEN = tl.constexpr(triton.knobs.runtime.interpret)
"""Triton's interpreter takes bf16 operands of a dot for integers."""


class Tile(NamedTuple):
    """Sizes of a program's tile of the product, and how it is compiled."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


def tile_of(positions: int, columns: int, depth: int, dtype: torch.dtype) -> Tile:
    """The tile for a product (positions, depth) × (depth, columns) of each image.

    bf16: 32 accumulators a thread, so that registers leave room for two to three programs on a
    multiprocessor: one's epilogue hides another's loads. A depth of 32 or 64 divides the dims of
    all PoolFormers and their fourfold, so nothing is padded along it. fp32 has no tensor cores at
    full precision (input_precision ieee): small tiles, for their operands lie in registers.
    """
    if dtype == torch.float32:
        return Tile(rows=32, columns=64, depth=32, warps=4, stages=2)
    step = 64 if depth >= 256 else 32
    if positions <= 64:
        return Tile(rows=64, columns=64, depth=step, warps=4, stages=3)
    return Tile(rows=128, columns=64, depth=step, warps=8, stages=3)


@triton.jit
def _product(
    left, right, row, rows, column, columns, depth, stride_depth, stride_column,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """A tile (ROWS, COLUMNS) of left (rows, depth) × right (depth, columns by its strides), fp32.

    WHOLE: DEPTH divides depth, so no mask along it.
    """
    step = tl.arange(0, DEPTH)
    in_rows = (row < rows)[:, None]
    in_columns = (column < columns)[None, :]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, depth, DEPTH):
        inner = start + step
        left_mask, right_mask = in_rows, in_columns
        if not WHOLE:
            left_mask = left_mask & (inner < depth)[None, :]
            right_mask = right_mask & (inner < depth)[:, None]
        a = tl.load(left + row[:, None] * depth + inner[None, :], mask=left_mask, other=0.0)
        b = tl.load(
            right + inner[:, None] * stride_depth + column[None, :] * stride_column,
            mask=right_mask,
            other=0.0,
        )
        if _WIDEN:
            a, b = a.to(tl.float32), b.to(tl.float32)
        total = tl.dot(a, b, total, input_precision="ieee")
    return total


@triton.jit
def _hidden_kernel(
    x, w1, row_sums, bias, means, rstds, scales, scales_stride, HAS_SCALES: tl.constexpr,
    u, v, positions, channels, hidden,
    ACT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    blocks = tl.cdiv(hidden, COLUMNS)
    row = tl.program_id(0) // blocks * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
    first = image.to(tl.int64) * positions
    total = _product(
        x + first * channels, w1, row, positions, column, hidden, channels, 1, channels,
        ROWS, COLUMNS, DEPTH, WHOLE,
    )  # fmt: skip
    # W1' x̂ = rstd (W1' x - mean × row sums): the norm is applied to the accumulators.
    in_columns = column < hidden
    sums = tl.load(row_sums + column, mask=in_columns, other=0.0)
    shift = tl.load(bias + column, mask=in_columns, other=0.0).to(tl.float32)
    before = (total - tl.load(means + image) * sums[None, :]) * tl.load(rstds + image)
    stored = (before + shift[None, :]).to(u.dtype.element_ty)
    start = first * hidden
    place = row[:, None] * hidden + column[None, :]
    mask = (row < positions)[:, None] & in_columns[None, :]
    tl.store(u + start + place, stored, mask=mask)
    after = activation(stored.to(tl.float32), ACT)
    after *= scale_of(image, scales, scales_stride, HAS_SCALES)
    tl.store(v + start + place, after.to(v.dtype.element_ty), mask=mask)


def hidden_layer(
    x: Tensor, folded: Folded, mean: Tensor, rstd: Tensor, scales: Tensor | None, act: str
) -> tuple[Tensor, Tensor]:
    """u = W1' x̂ + b1' and v = scales × act(u), both (B, N, K), of x (B, N, C) by one reading."""
    images, positions, channels = x.shape
    hidden = len(folded.w1)
    u, v = (torch.empty(images, positions, hidden, dtype=x.dtype, device=x.device) for _ in "uv")
    tile = tile_of(positions, hidden, channels, x.dtype)
    _hidden_kernel[_grid(images, positions, hidden, tile)](
        x, folded.w1, folded.row_sums, folded.b1, mean, rstd, *scale_arguments(scales, u), u, v,
        positions, channels, hidden, ACT=act,
        **_options(tile, channels),
    )  # fmt: skip
    return u, v


@triton.jit
def _output_kernel(
    v, w2, layer_scale, bias, scales, scales_stride, HAS_SCALES: tl.constexpr,
    x, y, partials, positions, channels, hidden,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    blocks = tl.cdiv(channels, COLUMNS)
    row = tl.program_id(0) // blocks * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
    first = image.to(tl.int64) * positions
    total = _product(
        v + first * hidden, w2, row, positions, column, channels, hidden, 1, hidden,
        ROWS, COLUMNS, DEPTH, WHOLE,
    )  # fmt: skip
    in_columns = column < channels
    shift = tl.load(layer_scale + column, mask=in_columns, other=0.0).to(tl.float32)
    shift *= tl.load(bias + column, mask=in_columns, other=0.0).to(tl.float32)
    shift *= scale_of(image, scales, scales_stride, HAS_SCALES)
    start = first * channels
    place = row[:, None] * channels + column[None, :]
    mask = (row < positions)[:, None] & in_columns[None, :]
    value = tl.load(x + start + place, mask=mask, other=0.0).to(tl.float32)
    stored = (value + total + shift[None, :]).to(y.dtype.element_ty)
    tl.store(y + start + place, stored, mask=mask)
    mean, squares, count = tile_moments(stored.to(tl.float32), mask)
    tile = image * tl.num_programs(0) + tl.program_id(0)
    store_partial(partials, tile, mean, squares, count)


def output_layer(
    v: Tensor, x: Tensor, folded: Folded, layer_scale: Tensor, bias: Tensor, scales: Tensor | None
) -> tuple[Tensor, Tensor]:
    """y = x + W2' v + scales × layer_scale × bias, and its partial statistics.

    v: (B, N, K), x: (B, N, C). The partials: (B, tiles, 3) fp32, for ``merge``.
    """
    images, positions, channels = x.shape
    hidden = v.shape[2]
    y = torch.empty_like(x)
    tile = tile_of(positions, channels, hidden, x.dtype)
    grid = _grid(images, positions, channels, tile)
    partials = torch.empty(images, grid[0], 3, device=x.device)
    _output_kernel[grid](
        v, folded.w2, layer_scale, bias, *scale_arguments(scales, y), x, y, partials,
        positions, channels, hidden, **_options(tile, hidden),
    )  # fmt: skip
    return y, partials


@triton.jit
def _hidden_gradient_kernel(
    g, w2, u, rstds, scales, scales_stride, HAS_SCALES: tl.constexpr,
    du, sums, products, positions, channels, hidden,
    ACT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    blocks = tl.cdiv(hidden, COLUMNS)
    tile = tl.program_id(0) // blocks
    row = tile * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
    first = image.to(tl.int64) * positions
    total = _product(
        g + first * channels, w2, row, positions, column, hidden, channels, hidden, 1,
        ROWS, COLUMNS, DEPTH, WHOLE,
    )  # fmt: skip
    factor = tl.load(rstds + image)
    factor *= scale_of(image, scales, scales_stride, HAS_SCALES)
    start = first * hidden
    place = row[:, None] * hidden + column[None, :]
    mask = (row < positions)[:, None] & (column < hidden)[None, :]
    value = tl.load(u + start + place, mask=mask, other=0.0).to(tl.float32)
    stored = (factor * total * derivative(value, ACT)).to(du.dtype.element_ty)
    tl.store(du + start + place, stored, mask=mask)
    rounded = stored.to(tl.float32)
    tiles = tl.num_programs(0) // blocks
    partial = sums + (image * tiles + tile) * hidden + column
    tl.store(partial, tl.sum(rounded, 0), mask=column < hidden)
    tl.store(products + image * tl.num_programs(0) + tl.program_id(0), tl.sum(rounded * value))


def hidden_gradient(
    g: Tensor, u: Tensor, folded: Folded, rstd: Tensor, scales: Tensor | None, act: str
) -> tuple[Tensor, Tensor, Tensor]:
    """du = rstd × scales × (g W2') × act'(u), and its sums, as ``activation_gradient_`` gives.

    g: (B, N, C), u: (B, N, K), rstd: (B,) fp32.
    """
    images, positions, hidden = u.shape
    channels = g.shape[2]
    du = torch.empty_like(u)
    tile = tile_of(positions, hidden, channels, u.dtype)
    grid = _grid(images, positions, hidden, tile)
    tiles = triton.cdiv(positions, tile.rows)
    sums = torch.empty(images, tiles, hidden, device=u.device)
    products = torch.empty(images, grid[0], device=u.device)
    _hidden_gradient_kernel[grid](
        g, folded.w2, u, rstd, *scale_arguments(scales, u), du, sums, products,
        positions, channels, hidden, ACT=act,
        **_options(tile, channels),
    )  # fmt: skip
    return du, sums, products


@triton.jit
def _input_gradient_kernel(
    du, w1, g, x, means, terms, dx, sums, positions, channels, hidden,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    blocks = tl.cdiv(channels, COLUMNS)
    tile = tl.program_id(0) // blocks
    row = tile * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
    first = image.to(tl.int64) * positions
    total = _product(
        du + first * hidden, w1, row, positions, column, channels, hidden, channels, 1,
        ROWS, COLUMNS, DEPTH, WHOLE,
    )  # fmt: skip
    start = first * channels
    place = row[:, None] * channels + column[None, :]
    mask = (row < positions)[:, None] & (column < channels)[None, :]
    shift, slope = tl.load(terms + image * 2), tl.load(terms + image * 2 + 1)
    of_output = tl.load(g + start + place, mask=mask, other=0.0).to(tl.float32)
    value = tl.load(x + start + place, mask=mask, other=0.0).to(tl.float32)
    gradient = of_output + total - shift - slope * (value - tl.load(means + image))
    tl.store(dx + start + place, gradient.to(dx.dtype.element_ty), mask=mask)
    tiles = tl.num_programs(0) // blocks
    partial = sums + (image * tiles + tile) * channels + column
    tl.store(partial, tl.sum(of_output, 0), mask=column < channels)


def input_gradient(
    g: Tensor, du: Tensor, x: Tensor, folded: Folded, mean: Tensor, terms: Tensor
) -> tuple[Tensor, Tensor]:
    """g + du W1' - shift - slope (x - mean), and the sums of g over a tile's positions.

    g, x: (B, N, C), du (times rstd): (B, N, K), mean: (B,) fp32, terms: (B, 2) fp32 of
    ``hidden_sums``. The sums: (B, tiles, C) fp32.
    """
    images, positions, channels = x.shape
    hidden = du.shape[2]
    dx = torch.empty_like(x)
    tile = tile_of(positions, channels, hidden, x.dtype)
    sums = torch.empty(images, triton.cdiv(positions, tile.rows), channels, device=x.device)
    _input_gradient_kernel[_grid(images, positions, channels, tile)](
        du, folded.w1, g, x, mean, terms, dx, sums, positions, channels, hidden,
        **_options(tile, hidden),
    )  # fmt: skip
    return dx, sums


def _grid(images: int, positions: int, columns: int, tile: Tile) -> tuple[int, int]:
    """Columns of a row of tiles one after the other, so the rows come from memory once."""
    return triton.cdiv(positions, tile.rows) * triton.cdiv(columns, tile.columns), images


def _options(tile: Tile, depth: int) -> dict[str, int | bool]:
    return {
        "ROWS": tile.rows,
        "COLUMNS": tile.columns,
        "DEPTH": tile.depth,
        "WHOLE": depth % tile.depth == 0,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }
