"""Sums over an image's tiles, and what the norm's gradient takes from them."""

# Triton types a kernel as a plain function: without launch options, a constexpr without its value.
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from pipeline.models.kernels.drop_scales import scale_arguments, scale_of
from pipeline.models.kernels.folding import Folded


@triton.jit
def _image_sums_kernel(
    partials, scales, scales_stride, HAS_SCALES: tl.constexpr, sums, tiles, columns,
    TILES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, tiles, TILES):
        tile = start + tl.arange(0, TILES)
        mask = (tile < tiles)[:, None] & (column < columns)[None, :]
        place = (image * tiles + tile)[:, None] * columns + column[None, :]
        total += tl.sum(tl.load(partials + place, mask=mask, other=0.0), 0)
    total *= scale_of(image, scales, scales_stride, HAS_SCALES)
    tl.store(sums + image * columns + column, total, mask=column < columns)


def image_sums(partials: Tensor, scales: Tensor | None) -> Tensor:
    """partials: (B, tiles, columns) fp32; scales: (B,) or None, ones. Returns (B, columns) fp32."""
    images, tiles, columns = partials.shape
    sums = torch.empty(images, columns, device=partials.device)
    _image_sums_kernel[(triton.cdiv(columns, 128), images)](
        partials, *scale_arguments(scales, sums), sums, tiles, columns,
        TILES=16, BLOCK=128, num_warps=4,
    )  # fmt: skip
    return sums


@triton.jit
def _hidden_sums_kernel(
    partials, products, row_sums, bias, rstds, sums, terms, tiles, count, hidden, size,
    TILES: tl.constexpr, BLOCK: tl.constexpr, PRODUCTS: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0)
    of_mean = tl.zeros((BLOCK,), tl.float32)
    of_bias = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, hidden, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < hidden
        total = tl.zeros((BLOCK,), tl.float32)
        for first in range(0, tiles, TILES):
            tile = first + tl.arange(0, TILES)
            place = (image * tiles + tile)[:, None] * hidden + column[None, :]
            mask = (tile < tiles)[:, None] & inside[None, :]
            total += tl.sum(tl.load(partials + place, mask=mask, other=0.0), 0)
        tl.store(sums + image * hidden + column, total, mask=inside)
        of_mean += total * tl.load(row_sums + column, mask=inside, other=0.0)
        of_bias += total * tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    with_input = tl.zeros((PRODUCTS,), tl.float32)
    for start in range(0, count, PRODUCTS):
        place = start + tl.arange(0, PRODUCTS)
        with_input += tl.load(products + image * count + place, mask=place < count, other=0.0)
    shift = tl.sum(of_mean) / size
    slope = (tl.sum(with_input) - tl.sum(of_bias)) / size * tl.load(rstds + image)
    tl.store(terms + image * 2, shift)
    tl.store(terms + image * 2 + 1, slope)


def hidden_sums(
    partials: Tensor, products: Tensor, folded: Folded, rstd: Tensor, map_elements: int
) -> tuple[Tensor, Tensor]:
    """Sums of du per image; and shift and slope of dx = g + dx̂ rstd - shift - slope (x - mean).

    The gradient of GroupNorm with one group is rstd (dx̂ - mean of dx̂ - x̂ × mean of dx̂ x̂), with
    both means over C, H and W. As dx̂ = W1'ᵀ du and W1' x̂ = u - b1', they are sums over hidden
    channels, of du times the row sums of W1' and of du (u - b1'): no pass over dx̂ is needed.

    partials: (B, tiles, K) fp32, sums of du × rstd over a tile; products: (B, more tiles) fp32,
    of du u × rstd; rstd: (B,) fp32; map_elements: C × H × W. Returns (B, K) and (B, 2) fp32.
    """
    images, tiles, hidden = partials.shape
    sums = torch.empty(images, hidden, device=partials.device)
    terms = torch.empty(images, 2, device=partials.device)
    _hidden_sums_kernel[(images,)](
        partials, products, folded.row_sums, folded.b1, rstd, sums, terms,
        tiles, products.shape[1], hidden, map_elements,
        TILES=8, BLOCK=256, PRODUCTS=128, num_warps=4,
    )  # fmt: skip
    return sums, terms
