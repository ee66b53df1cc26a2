"""Triton kernels of the pooling half; pooling_half.py launches them and says what they compute.

Maps are channels_last: an image is H rows of W × C numbers. A program has a tile of ``ROWS``
rows, ``COLUMNS`` columns and ``CHANNELS`` channels of one image, and goes down its rows with
the column sums of a window's rows in registers: each number is loaded POOL times in a row,
from the L1 cache but once.
"""
# Triton types kernels as plain functions: without launch options, constexpr without its value.
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false

import triton
import triton.language as tl

from pipeline.models.kernels.statistics import store_partial


@triton.jit
def _place(width, channels, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr):
    """First row of this program's tile, its columns (COLUMNS, 1) and channels (1, CHANNELS).

    Tiles of an image are numbered channels first: neighbours read the same rows at one time.
    """
    channel_tiles = tl.cdiv(channels, CHANNELS)
    column_tiles = tl.cdiv(width, COLUMNS)
    tile = tl.program_id(0)
    channel = (tile % channel_tiles) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    column = (tile // channel_tiles % column_tiles) * COLUMNS + tl.arange(0, COLUMNS)[:, None]
    return tile // channel_tiles // column_tiles * ROWS, column, channel


@triton.jit
def _in_window(place, size, POOL: tl.constexpr):
    """How many places of a window around ``place`` lie inside the map, along one axis."""
    reach: tl.constexpr = POOL // 2
    inside = tl.minimum(place + reach, size - 1) - tl.maximum(place - reach, 0) + 1
    # A program's surplus columns have windows outside the map.
    return tl.maximum(inside, 1).to(tl.float32)


@triton.jit
def _row(
    image, row, column, channel, height, width, channels, POOL: tl.constexpr, SHARED: tl.constexpr
):
    """Sum over a window's columns, and its middle, in one row of a map; fp32, 0 outside.

    SHARED: each number is divided by the size of its own place's window first, for the
    transpose of the average.
    """
    total = tl.zeros((column.shape[0], channel.shape[1]), tl.float32)
    middle = total
    is_row = (row >= 0) & (row < height) & (channel < channels)
    for step in tl.static_range(POOL):
        place = column + (step - POOL // 2)
        mask = is_row & (place >= 0) & (place < width)
        values = tl.load(image + (row * width + place) * channels + channel, mask=mask, other=0.0)
        values = values.to(tl.float32)
        if step == POOL // 2:
            middle = values
        if SHARED:
            size = _in_window(place, width, POOL) * _in_window(row, height, POOL)
            values = values * (1.0 / size)
        total += values
    return total, middle


@triton.jit
def _with(rows, row):
    # Triton's tuples know no star.
    return rows + (row,)  # noqa: RUF005


@triton.jit
def _rows_before(
    image, first, column, channel, height, width, channels, POOL: tl.constexpr,
    SHARED: tl.constexpr,
):  # fmt: skip
    """What ``_row`` gives for the POOL - 1 rows that a window has before its last, as tuples."""
    sums = ()
    middles = ()
    for step in tl.static_range(POOL - 1):
        total, middle = _row(
            image, first + step - POOL // 2, column, channel, height, width, channels, POOL, SHARED
        )
        sums = _with(sums, total)
        middles = _with(middles, middle)
    return sums, middles


@triton.jit
def _sum_of(rows, POOL: tl.constexpr):
    total = rows[0]
    for step in tl.static_range(1, POOL):
        total = total + rows[step]
    return total


@triton.jit
def _branch_scale(image, gamma, layer_scale, drop, drop_stride, rstd, channel, channels):
    """drop × layer scale × gamma × rstd of the tile's channels, (1, CHANNELS) fp32."""
    mask = channel < channels
    scale = tl.load(gamma + channel, mask=mask, other=0.0).to(tl.float32)
    scale *= tl.load(layer_scale + channel, mask=mask, other=0.0).to(tl.float32)
    scale *= tl.load(rstd + image)
    if drop is not None:
        scale *= tl.load(drop + image * drop_stride).to(tl.float32)
    return scale


@triton.jit
def forward_kernel(
    x, y, partials, rstd, gamma, layer_scale, drop, drop_stride, height, width, channels,
    POOL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """y = x + scale × (pool(x) - x), and the tile's part in the statistics of y."""
    image = tl.program_id(1)
    first, column, channel = _place(width, channels, COLUMNS, CHANNELS, ROWS)
    scale = _branch_scale(image, gamma, layer_scale, drop, drop_stride, rstd, channel, channels)
    start = image.to(tl.int64) * height * width * channels
    mask = (column < width) & (channel < channels)
    columns_in_window = _in_window(column, width, POOL)
    sums, middles = _rows_before(
        x + start, first, column, channel, height, width, channels, POOL, False
    )
    mean = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    squares = mean
    for step in tl.static_range(ROWS):
        row = first + step
        total, middle = _row(
            x + start, row + POOL // 2, column, channel, height, width, channels, POOL, False
        )
        sums = _with(sums, total)
        middles = _with(middles, middle)
        size = columns_in_window * _in_window(row, height, POOL)
        center = middles[POOL // 2]
        value = center + scale * (_sum_of(sums, POOL) * (1.0 / size) - center)
        value = value.to(y.dtype.element_ty)
        place = (row * width + column) * channels + channel
        tl.store(y + start + place, value, mask=mask & (row < height))
        # Welford's update, per place of the tile: all have the same count of rows.
        value = value.to(tl.float32)
        change = tl.where(row < height, value - mean, 0.0)
        mean += change * (1.0 / (step + 1))
        squares += change * (value - mean)
        sums = sums[1:]
        middles = middles[1:]
    rows = tl.minimum(height - first, ROWS).to(tl.float32)
    count = tl.sum(mask.to(tl.float32))
    tile_mean = tl.sum(tl.where(mask, mean, 0.0)) / count
    squares += rows * (mean - tile_mean) * (mean - tile_mean)
    tile = image * tl.num_programs(0) + tl.program_id(0)
    store_partial(partials, tile, tile_mean, tl.sum(tl.where(mask, squares, 0.0)), count * rows)


@triton.jit
def products_kernel(
    x, g, products, height, width, channels,
    POOL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Sums of g × (pool(x) - x) over a tile's places, per channel.

    products: (B, tiles of places, C) fp32.
    """
    image = tl.program_id(1)
    first, column, channel = _place(width, channels, COLUMNS, CHANNELS, ROWS)
    start = image.to(tl.int64) * height * width * channels
    mask = (column < width) & (channel < channels)
    columns_in_window = _in_window(column, width, POOL)
    sums, middles = _rows_before(
        x + start, first, column, channel, height, width, channels, POOL, False
    )
    product = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    for step in tl.static_range(ROWS):
        row = first + step
        total, middle = _row(
            x + start, row + POOL // 2, column, channel, height, width, channels, POOL, False
        )
        sums = _with(sums, total)
        middles = _with(middles, middle)
        size = columns_in_window * _in_window(row, height, POOL)
        place = (row * width + column) * channels + channel
        gradient = tl.load(g + start + place, mask=mask & (row < height), other=0.0)
        difference = _sum_of(sums, POOL) * (1.0 / size) - middles[POOL // 2]
        product += gradient.to(tl.float32) * difference
        sums = sums[1:]
        middles = middles[1:]
    channel_tiles = tl.cdiv(channels, CHANNELS)
    tiles = tl.num_programs(0) // channel_tiles
    tile = image * tiles + tl.program_id(0) // channel_tiles
    # All columns outside the map have loaded zeros.
    result = tl.sum(product, axis=0)[None, :]
    tl.store(products + tile * channels + channel, result, mask=channel < channels)


@triton.jit
def input_gradient_kernel(
    x, g, dx, mean, image_factor, rstd, gamma, layer_scale, drop, drop_stride,
    height, width, channels,
    POOL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """dx = g + scale × (poolᵀ(g) - g) - image factor × (x - mean)."""
    image = tl.program_id(1)
    first, column, channel = _place(width, channels, COLUMNS, CHANNELS, ROWS)
    scale = _branch_scale(image, gamma, layer_scale, drop, drop_stride, rstd, channel, channels)
    start = image.to(tl.int64) * height * width * channels
    mask = (column < width) & (channel < channels)
    image_mean = tl.load(mean + image)
    factor = tl.load(image_factor + image)
    sums, middles = _rows_before(
        g + start, first, column, channel, height, width, channels, POOL, True
    )
    for step in tl.static_range(ROWS):
        row = first + step
        total, middle = _row(
            g + start, row + POOL // 2, column, channel, height, width, channels, POOL, True
        )
        sums = _with(sums, total)
        middles = _with(middles, middle)
        place = (row * width + column) * channels + channel
        inside = mask & (row < height)
        value = tl.load(x + start + place, mask=inside, other=0.0).to(tl.float32)
        center = middles[POOL // 2]
        value = center + scale * (_sum_of(sums, POOL) - center) - factor * (value - image_mean)
        tl.store(dx + start + place, value.to(dx.dtype.element_ty), mask=inside)
        sums = sums[1:]
        middles = middles[1:]


@triton.jit
def image_sums_kernel(
    products, scaled, image_factor, rstd, gamma, layer_scale, drop, drop_stride,
    tiles, channels, inverse_size,
    TILES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """An image's sums over its tiles, and the factor of x - mean in its gradient.

    scaled: (B, C) fp32: drop × rstd × sum over tiles of products; image_factor: (B,) fp32.
    """
    image = tl.program_id(0)
    first = products + image.to(tl.int64) * tiles * channels
    deviation = tl.load(rstd + image)
    factor = deviation
    if drop is not None:
        factor *= tl.load(drop + image * drop_stride).to(tl.float32)
    weighted = tl.zeros((CHANNELS,), tl.float32)
    for start in range(0, channels, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        inside = channel < channels
        total = tl.zeros((TILES, CHANNELS), tl.float32)
        for start_tile in range(0, tiles, TILES):
            tile = start_tile + tl.arange(0, TILES)[:, None]
            places = tile * channels + channel[None, :]
            total += tl.load(first + places, mask=(tile < tiles) & inside[None, :], other=0.0)
        sums = tl.sum(total, axis=0) * factor
        tl.store(scaled + image * channels + channel, sums, mask=inside)
        weight = tl.load(gamma + channel, mask=inside, other=0.0).to(tl.float32)
        weight *= tl.load(layer_scale + channel, mask=inside, other=0.0).to(tl.float32)
        weighted += weight * sums
    tl.store(image_factor + image, tl.sum(weighted) * deviation * deviation * inverse_size)


@triton.jit
def channel_sums_kernel(
    scaled, gamma, layer_scale, d_gamma, d_beta, d_layer_scale, images, channels,
    IMAGES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Gradients of gamma and the layer scale from ``scaled``; beta's is zero."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    total = tl.zeros((IMAGES, CHANNELS), tl.float32)
    for start in range(0, images, IMAGES):
        image = start + tl.arange(0, IMAGES)[:, None]
        places = image * channels + channel[None, :]
        total += tl.load(scaled + places, mask=(image < images) & inside[None, :], other=0.0)
    sums = tl.sum(total, axis=0)
    weight = tl.load(gamma + channel, mask=inside, other=0.0).to(tl.float32)
    scale = tl.load(layer_scale + channel, mask=inside, other=0.0).to(tl.float32)
    tl.store(d_gamma + channel, (sums * scale).to(d_gamma.dtype.element_ty), mask=inside)
    tl.store(
        d_layer_scale + channel, (sums * weight).to(d_layer_scale.dtype.element_ty), mask=inside
    )
    zero = tl.zeros((CHANNELS,), tl.float32).to(d_beta.dtype.element_ty)
    tl.store(d_beta + channel, zero, mask=inside)
