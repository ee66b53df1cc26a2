"""timm's operations as DALI operators: each is applied only to the images that drew it."""

# DALI's type stubs leave out its constants and the operators of data nodes.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from nvidia.dali import fn, math, types

from pipeline.config.schema import AugmentConfig
from pipeline.data.dali.arguments import TRUNCATE, Family, LayerArguments

INPUTS_PER_LAYER = 7
INPUT_TYPES = [types.INT32, types.UINT8, types.FLOAT, types.FLOAT, types.INT32, *[types.FLOAT] * 2]
INPUT_DIMS = [0, 0, 1, 2, 1, 2, 2]

_WHITE = types.Constant(255, dtype=types.UINT8)

Node = Any


@dataclass(frozen=True)
class Canvas:
    """What all layers share."""

    side: int
    """Pixels of the square images."""
    fill: tuple[int, int, int]
    """RGB of what a geometric operation leaves empty."""
    on_gpu: bool


def fill_of(config: AugmentConfig) -> tuple[int, int, int]:
    """The mean colour, as timm fills."""
    red, green, blue = (min(255, round(255 * value)) for value in config.mean)
    return red, green, blue


def layer_inputs(arguments: LayerArguments) -> Iterator[Any]:
    """The INPUTS_PER_LAYER batches that ``apply_layer`` takes, in its order."""
    yield arguments.family
    yield arguments.level
    yield arguments.linear
    yield arguments.kernels
    yield arguments.shifts
    yield arguments.colors
    yield arguments.warps


def apply_layer(images: Node, inputs: list[Node], canvas: Canvas) -> Node:
    """images: (side, side, 3) uint8 each. Converted by DALI: each branch gets part of the batch."""
    family, level, linear, kernel, shift, colors, warp = inputs
    if family == Family.NONE.value:
        done = images
    elif family == Family.WARP.value:
        done = _warp(images, warp, canvas)
    elif family == Family.FILTER.value:
        done = _filter(images, kernel, shift, canvas)
    elif family == Family.LINEAR.value:
        done = fn.brightness_contrast(
            images,
            contrast=linear[0],
            contrast_center=linear[1],
            brightness_shift=TRUNCATE / 255,
        )
    elif family == Family.CONTRAST.value:
        done = _contrast(images, linear[0], canvas)
    elif family == Family.AUTO_CONTRAST.value:
        done = _auto_contrast(images, canvas)
    elif family == Family.EQUALIZE.value:
        done = _equalize(images)
    elif family == Family.POSTERIZE.value:
        done = images & _beside(level, canvas)
    elif family == Family.SOLARIZE.value:
        done = images ^ ((images > _beside(level, canvas)) * _WHITE)
    elif family == Family.SOLARIZE_ADD.value:
        done = images + (images < 128) * _beside(level, canvas)
    else:
        done = fn.coord_transform(images, MT=colors, dtype=types.UINT8)
    return done


def _warp(images: Node, warp: Node, canvas: Canvas) -> Node:
    # DALI fills with one value for all channels and blends it in at the edge; PIL does neither.
    warped = fn.warp_affine(images, matrix=warp)
    whole = _constant(np.ones((canvas.side, canvas.side, 1), np.uint8), canvas, "HWC")
    inside = fn.warp_affine(whole, matrix=warp, fill_value=0, interp_type=types.INTERP_NN)
    fill = _constant(np.array(canvas.fill, np.uint8), canvas)
    return fill + (warped - fill) * inside  # exact: uint8 wraps around twice


def _filter(images: Node, kernel: Node, shift: Node, canvas: Canvas) -> Node:
    filtered = fn.filter(images, _beside(kernel, canvas), border="clamp")
    return fn.slice(
        filtered,
        start=shift,
        shape=[canvas.side, canvas.side],
        axes=[0, 1],
        out_of_bounds_policy="pad",
        fill_values=list(canvas.fill),
    )


def _equalize(images: Node) -> Node:
    # PIL counts the pixels under a value, DALI those up to it: the same on the negative.
    return fn.equalize(images ^ _WHITE) ^ _WHITE


def _contrast(images: Node, factor: Node, canvas: Canvas) -> Node:
    grey = fn.color_space_conversion(images, image_type=types.RGB, output_type=types.GRAY)
    centre = math.floor(fn.reductions.mean(grey) + 0.5)
    if canvas.on_gpu:
        # What was measured there is no argument of an operator.
        blended = centre + (images - centre) * _beside(factor, canvas)
        return fn.cast(blended + TRUNCATE, dtype=types.UINT8)
    return fn.brightness_contrast(
        images, contrast=factor, contrast_center=centre, brightness_shift=TRUNCATE / 255
    )


def _auto_contrast(images: Node, canvas: Canvas) -> Node:
    low = fn.reductions.min(images, axes=[0, 1], keep_dims=True)
    span = fn.reductions.max(images, axes=[0, 1], keep_dims=True) - low
    is_flat = fn.cast(span == 0, dtype=types.FLOAT)
    # A channel of one value stays as it is.
    low, unit = low * (1.0 - is_flat), (span + 255.0 * is_flat) / 255.0
    if canvas.on_gpu:
        return fn.cast((images - low) / unit + TRUNCATE, dtype=types.UINT8)
    return fn.normalize(
        images, axes=[0, 1], mean=low, stddev=unit, shift=TRUNCATE, dtype=types.UINT8
    )


def _beside(node: Node, canvas: Canvas) -> Node:
    """An operand where the images are."""
    return node.gpu() if canvas.on_gpu else node


def _constant(value: np.ndarray, canvas: Canvas, layout: str = "") -> Node:
    return types.Constant(value, layout=layout, device="gpu" if canvas.on_gpu else "cpu")
