"""The graph from JPEG files to uint8 squares, and the inputs that tell it what to do."""

# DALI's type stubs leave out its constants and the arguments that may be None or data nodes.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types

from pipeline.data.augment.transforms import Transforms
from pipeline.data.dali.arguments import layer_arguments
from pipeline.data.dali.operations import (
    INPUT_DIMS,
    INPUT_TYPES,
    INPUTS_PER_LAYER,
    Canvas,
    apply_layer,
    layer_inputs,
)

Jpegs = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class GraphSettings:
    """What a graph is built for."""

    canvas: Canvas
    decode_on_gpu: bool
    layers: int
    """Operations per image, one after the other."""
    decode_only: bool = False
    """For timing: the images' sizes come out, after decoding alone."""


_CROP_TYPES = [types.UINT8, *[types.INT32] * 2, *[types.FLOAT] * 2, types.INT32]
_CROP_DIMS = [1, 1, 1, 1, 1, 0]


def graph_inputs(jpegs: Jpegs, transforms: Transforms, side: int) -> tuple[Any, ...]:
    """One batch for the graph: B files, and how each is cropped, resized, flipped and changed."""
    t = transforms
    first, last = _region(t, side)
    layers = [layer_arguments(t.operations, layer, side) for layer in range(t.operations.layers)]
    return (
        list(jpegs),
        t.boxes[:, :2].astype(np.int32),
        t.boxes[:, 2:].astype(np.int32),
        first,
        last,
        np.where(t.bicubic, types.INTERP_CUBIC, types.INTERP_LINEAR).astype(np.int32),
        *(value for layer in layers for value in layer_inputs(layer)),
    )


def _region(transforms: Transforms, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(B, 2) y, x of the first and the last corner, in the decoded image, of what is seen.

    A flipped image is one whose first x is the larger.
    """
    t = transforms
    scale = t.boxes[:, 2:] / t.resized
    first, last = t.crops * scale, (t.crops + side) * scale
    flipped = np.stack([t.flips, np.zeros_like(t.flips)], axis=1)
    first, last = np.where(flipped, last, first), np.where(flipped, first, last)
    return first[:, ::-1].astype(np.float32), last[:, ::-1].astype(np.float32)


@pipeline_def(enable_conditionals=True)
def image_graph(source: Iterator[tuple[Any, ...]], settings: GraphSettings) -> Any:
    """(side, side, 3) uint8 images of what ``source`` yields: see ``graph_inputs``."""
    canvas, layers = settings.canvas, settings.layers
    inputs = fn.external_source(
        source=source,
        num_outputs=len(_CROP_TYPES) + layers * INPUTS_PER_LAYER,
        dtype=_CROP_TYPES + INPUT_TYPES * layers,
        ndim=_CROP_DIMS + INPUT_DIMS * layers,
    )
    jpegs, start, shape, first, last, filters = inputs[: len(_CROP_TYPES)]
    images = fn.decoders.image_slice(
        jpegs,
        start=start,
        shape=shape,
        axis_names="WH",
        adjust_orientation=False,
        output_type=types.RGB,
        device="mixed" if settings.decode_on_gpu else "cpu",
    )
    if settings.decode_only:
        return images.shape()
    if canvas.on_gpu:
        images = images.gpu()
    filters = fn.reinterpret(filters, dtype=types.INTERP_TYPE)
    images = fn.resize(
        images,
        size=[canvas.side, canvas.side],
        roi_start=first,
        roi_end=last,
        interp_type=filters,
        antialias=True,
    )
    for layer in range(layers):
        start = len(_CROP_TYPES) + layer * INPUTS_PER_LAYER
        images = apply_layer(images, inputs[start : start + INPUTS_PER_LAYER], canvas)
    return images
