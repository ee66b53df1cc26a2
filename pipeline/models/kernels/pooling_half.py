"""A block's first branch with its sum, fused: GroupNorm, average pooling minus identity, scales.

With n = (x - mean) × rstd × gamma + beta, count_include_pad=False makes the average of a
constant that constant, so that pool(n) - n = rstd × gamma × d with d = pool(x) - x; beta
cancels, and its gradient is zero. With a = drop × layer_scale × gamma × rstd per image and
channel, P = sum over places of g × d, and N = C × H × W:

    y  = x + a × d
    dx = g + a × (poolᵀ(g) - g) - f × (x - mean)
    f  = rstd³ / N × sum over channels of drop × layer_scale × gamma × P
    T  = sum over images of drop × rstd × P;  dgamma = layer_scale × T;  dlayer_scale = gamma × T

The last term of dx is the way through rstd; that through the mean is zero, as d does not move
with a constant. The forward pass reads x and writes y; the backward pass reads x and g twice
and writes dx: seven passes over the map in all.
"""
# Triton types kernels as plain functions: without launch options.
# pyright: reportCallIssue=false

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.models.kernels.pooling_kernels import (
    channel_sums_kernel,
    forward_kernel,
    image_sums_kernel,
    input_gradient_kernel,
    products_kernel,
)
from pipeline.models.kernels.statistics import Statistics, merge


class Launch(NamedTuple):
    """How a map is cut into the programs of a kernel."""

    rows: int
    columns: int
    channels: int
    warps: int

    def tiles_of(self, height: int, width: int) -> int:
        """Tiles of places of an image."""
        return triton.cdiv(height, self.rows) * triton.cdiv(width, self.columns)


def launch_of(x: Tensor, pool_size: int) -> Launch:
    """By shape alone, so that sums have the same order on every machine.

    1,024 numbers to a row of the tile; of the channels 64 at most (128 bytes in bf16), a divisor
    of theirs where it is not too small. A thread has 16 bytes of a row, and two numbers where
    windows are large, for their rows lie in its registers.
    """
    _, channels, height, width = x.shape
    divisor = channels & -channels
    if divisor < 16:
        divisor = triton.next_power_of_2(channels)
    columns = min(triton.next_power_of_2(width), 1024 // min(64, divisor))
    most = min(divisor, 1024 // columns)
    per_thread = 16 // x.itemsize if pool_size == 3 else 2
    warps = max(1, columns * most // (32 * per_thread))
    # 7 divides the sides of all stages at 224 px: 56, 28, 14, 7.
    rows = min(7 if pool_size == 3 else 4, height)
    return Launch(rows, columns, most, warps)


def pooling_half(
    x: Tensor,
    statistics: Statistics,
    gamma: Tensor,
    beta: Tensor,
    layer_scale: Tensor,
    drop_scales: Tensor | None,
    pool_size: int,
    eps: float,
) -> tuple[Tensor, Statistics]:
    """x + drop_scales × layer_scale × (pool(n) - n), n = GroupNorm of one group of x.

    x: (B, C, H, W) bf16 or fp32 in channels_last memory; statistics: those of x, for the same
    eps; gamma, beta, layer_scale: (C,); drop_scales: (B,), None is ones; pool_size: odd.
    Returns y, of x's shape, dtype and memory, and y's statistics.
    """
    y, mean, rstd = _PoolingHalf.apply(
        x, *statistics, gamma, beta, layer_scale, drop_scales, pool_size, eps
    )
    return y, Statistics(mean, rstd)


class _PoolingHalf(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        rstd: Tensor,
        gamma: Tensor,
        beta: Tensor,
        layer_scale: Tensor,
        drop: Tensor | None,
        pool_size: int,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        assert x.is_contiguous(memory_format=torch.channels_last), x.stride()
        images, channels, height, width = x.shape
        launch = launch_of(x, pool_size)
        tiles = launch.tiles_of(height, width) * triton.cdiv(channels, launch.channels)
        y = torch.empty_like(x)
        partials = torch.empty(images, tiles, 3, device=x.device)
        forward_kernel[(tiles, images)](
            x, y, partials, rstd, gamma, layer_scale, drop, _stride(drop),
            height, width, channels, POOL=pool_size, ROWS=launch.rows, COLUMNS=launch.columns,
            CHANNELS=launch.channels, num_warps=launch.warps,
        )  # fmt: skip
        result = merge(partials, eps)
        ctx.save_for_backward(x, mean, rstd, gamma, beta, layer_scale, drop)
        ctx.pool_size = pool_size
        ctx.mark_non_differentiable(*result)
        ctx.set_materialize_grads(False)
        return y, result.mean, result.rstd

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]: the decorator is untyped
        ctx: Any, *gradients: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        # Nothing comes for the statistics; and nothing at all where only these were used.
        g = gradients[0]
        if g is None:
            return (None,) * 9
        x, mean, rstd, gamma, beta, layer_scale, drop = ctx.saved_tensors
        g = g.contiguous(memory_format=torch.channels_last)
        images, channels, height, width = x.shape
        launch = launch_of(x, ctx.pool_size)
        tiles = launch.tiles_of(height, width)
        grid = (tiles * triton.cdiv(channels, launch.channels), images)
        cut = {
            "POOL": ctx.pool_size, "ROWS": launch.rows, "COLUMNS": launch.columns,
            "CHANNELS": launch.channels, "num_warps": launch.warps,
        }  # fmt: skip
        products = torch.empty(images, tiles, channels, device=x.device)
        products_kernel[grid](x, g, products, height, width, channels, **cut)
        factor, of_parameters = branch_sums(
            products, rstd, gamma, beta, layer_scale, drop, x[0].numel()
        )
        dx = torch.empty_like(x)
        input_gradient_kernel[grid](
            x, g, dx, mean, factor, rstd, gamma, layer_scale, drop, _stride(drop),
            height, width, channels, **cut,
        )  # fmt: skip
        return dx, None, None, *of_parameters, None, None, None


def branch_sums(
    products: Tensor,
    rstd: Tensor,
    gamma: Tensor,
    beta: Tensor,
    layer_scale: Tensor,
    drop: Tensor | None,
    image_size: int,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """What the backward pass needs of P: products (B, tiles, C) fp32 are its parts.

    Returns the factor of x - mean in dx, (B,) fp32, and the gradients of gamma, beta and
    layer_scale, (C,) in their dtypes. image_size: C × H × W.
    """
    images, tiles, channels = products.shape
    scaled = torch.empty(images, channels, device=products.device)
    factor = torch.empty(images, device=products.device)
    image_sums_kernel[(images,)](
        products, scaled, factor, rstd, gamma, layer_scale, drop, _stride(drop), tiles, channels,
        1 / image_size, TILES=16, CHANNELS=min(128, triton.next_power_of_2(channels)),
        num_warps=4,
    )  # fmt: skip
    gradients = torch.empty_like(gamma), torch.empty_like(beta), torch.empty_like(layer_scale)
    block = min(32, triton.next_power_of_2(channels))
    channel_sums_kernel[(triton.cdiv(channels, block),)](
        scaled, gamma, layer_scale, *gradients, images, channels, IMAGES=64, CHANNELS=block,
        num_warps=4,
    )  # fmt: skip
    return factor, gradients


def _stride(drop: Tensor | None) -> int:
    return 0 if drop is None else drop.stride(0)
