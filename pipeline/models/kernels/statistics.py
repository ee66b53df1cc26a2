"""Mean and deviation of each image's map, and their merging from tiles without cancellation."""
# Triton types kernels as plain functions: without launch options, constexpr without its value.
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE = 4096
"""Elements of a tile of ``statistics_of``."""


class Statistics(NamedTuple):
    """Of a map (B, C, H, W) over C, H and W; not differentiable."""

    mean: Tensor
    """(B,) fp32."""
    rstd: Tensor
    """(B,) fp32: 1 / sqrt(biased variance + eps)."""


@triton.jit
def tile_moments(values, mask):
    """Mean, sum of squared deviations from it, and count of a tile's values where mask is true.

    values: fp32, as they are stored; mask: of the same shape. Three scalars; zeros for no value.
    """
    count = tl.sum(mask.to(tl.float32))
    mean = tl.sum(tl.where(mask, values, 0.0)) / tl.maximum(count, 1.0)
    deviations = tl.where(mask, values - mean, 0.0)
    return mean, tl.sum(deviations * deviations), count


@triton.jit
def store_partial(partials, tile, mean, squares, count):
    """Write what ``tile_moments`` gave; tile: image × tiles per image + tile of the image."""
    tl.store(partials + tile * 3, mean)
    tl.store(partials + tile * 3 + 1, squares)
    tl.store(partials + tile * 3 + 2, count)


@triton.jit
def _partials_kernel(x, partials, size, TILE: tl.constexpr):
    image = tl.program_id(1)
    tile = tl.program_id(0)
    places = tile * TILE + tl.arange(0, TILE)
    mask = places < size
    values = tl.load(x + image.to(tl.int64) * size + places, mask=mask, other=0.0)
    mean, squares, count = tile_moments(values.to(tl.float32), mask)
    store_partial(partials, image * tl.num_programs(0) + tile, mean, squares, count)


@triton.jit
def _merge_kernel(partials, means, rstds, tiles, eps, BLOCK: tl.constexpr):
    image = tl.program_id(0)
    first = partials + image * tiles * 3
    # Deviations from a tile's mean stay exact where all means are large.
    pivot = tl.load(first)
    counts = tl.zeros((BLOCK,), tl.float32)
    sums = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, tiles, BLOCK):
        tile = start + tl.arange(0, BLOCK)
        mean = tl.load(first + tile * 3, mask=tile < tiles, other=0.0)
        count = tl.load(first + tile * 3 + 2, mask=tile < tiles, other=0.0)
        counts += count
        sums += count * (mean - pivot)
    total = tl.sum(counts)
    offset = tl.sum(sums) / total
    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, tiles, BLOCK):
        tile = start + tl.arange(0, BLOCK)
        mean = tl.load(first + tile * 3, mask=tile < tiles, other=0.0)
        square = tl.load(first + tile * 3 + 1, mask=tile < tiles, other=0.0)
        count = tl.load(first + tile * 3 + 2, mask=tile < tiles, other=0.0)
        deviation = mean - pivot - offset
        squares += square + count * deviation * deviation
    tl.store(means + image, pivot + offset)
    tl.store(rstds + image, 1.0 / tl.sqrt_rn(tl.sum(squares) / total + eps))


def statistics_of(x: Tensor, eps: float) -> Statistics:
    """Of a map x (B, C, H, W) in channels_last memory, bf16 or fp32, by one pass over it."""
    assert x.is_contiguous(memory_format=torch.channels_last), x.stride()
    size = x[0].numel()
    tiles = triton.cdiv(size, _TILE)
    partials = torch.empty(len(x), tiles, 3, device=x.device)
    _partials_kernel[(tiles, len(x))](x, partials, size, TILE=_TILE, num_warps=4)
    return merge(partials, eps)


def merge(partials: Tensor, eps: float) -> Statistics:
    """Of each image, from its tiles.

    partials: (B, tiles, 3) fp32, contiguous: mean, sum of squared deviations from it and count
    of each tile, as ``store_partial`` writes them; tiles of count 0 say nothing, the first may
    not be one. Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979), formula 2.1 for all tiles at once.
    """
    images, tiles, _ = partials.shape
    mean, rstd = torch.empty(2, images, device=partials.device)
    block = min(1024, triton.next_power_of_2(tiles))
    _merge_kernel[(images,)](partials, mean, rstd, tiles, eps, BLOCK=block, num_warps=1)
    return Statistics(mean, rstd)
