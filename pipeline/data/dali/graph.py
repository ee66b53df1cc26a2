"""The graph from JPEG files to uint8 squares, and the inputs that tell it what to do."""

# DALI's type stubs leave out its constants and the arguments that may be None or data nodes.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nvidia.dali import fn, pipeline_def

from pipeline.data.augment.transforms import Transforms
from pipeline.data.dali.arguments import layer_arguments
from pipeline.data.dali.decoding import Jpegs, decode_inputs, decode_kinds, squares
from pipeline.data.dali.gpu_decoder import GpuDecoder
from pipeline.data.dali.operations import (
    INPUT_DIMS,
    INPUT_TYPES,
    INPUTS_PER_LAYER,
    Canvas,
    apply_layer,
    layer_inputs,
)


@dataclass(frozen=True)
class GraphSettings:
    """What a graph is built for."""

    canvas: Canvas
    gpu_decoder: GpuDecoder | None
    """None: the CPU decodes."""
    layers: int
    """Operations per image, one after the other."""
    decode_only: bool = False
    """For timing: the images' sizes come out, after decoding alone."""


def graph_inputs(jpegs: Jpegs, transforms: Transforms, settings: GraphSettings) -> tuple[Any, ...]:
    """One batch for the graph: B files, and how each is cropped, resized, flipped and changed.

    Operations beyond ``settings.layers`` are left out.
    """
    canvas = settings.canvas
    layers = [
        layer_arguments(transforms.operations, layer, canvas.side)
        for layer in range(settings.layers)
    ]
    return (
        *decode_inputs(jpegs, transforms, canvas, settings.gpu_decoder),
        *(value for layer in layers for value in layer_inputs(layer)),
    )


@pipeline_def(enable_conditionals=True)
def image_graph(source: Iterator[tuple[Any, ...]], settings: GraphSettings) -> Any:
    """(side, side, 3) uint8 images of what ``source`` yields: see ``graph_inputs``."""
    canvas, layers = settings.canvas, settings.layers
    kinds, dims = decode_kinds(canvas, settings.gpu_decoder)
    inputs = fn.external_source(
        source=source,
        num_outputs=len(kinds) + layers * INPUTS_PER_LAYER,
        dtype=kinds + INPUT_TYPES * layers,
        ndim=dims + INPUT_DIMS * layers,
    )
    images = squares(inputs[: len(kinds)], canvas, settings.gpu_decoder, settings.decode_only)
    if settings.decode_only:
        return images
    for layer in range(layers):
        start = len(kinds) + layer * INPUTS_PER_LAYER
        images = apply_layer(images, inputs[start : start + INPUTS_PER_LAYER], canvas)
    return images
