"""From JPEG files to squares: where each image is decoded and resized."""

# DALI's type stubs leave out its constants and the arguments that may be None or data nodes.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, types
from PIL import Image

from pipeline.data.augment.transforms import Transforms
from pipeline.data.dali.gpu_decoder import GpuDecoder, is_huge
from pipeline.data.dali.operations import Canvas

Jpegs = Sequence[NDArray[np.uint8]]
Node = Any

_COMMON_TYPES = [types.UINT8, *[types.INT32] * 2, *[types.FLOAT] * 2, types.INT32]
_COMMON_DIMS = [1, 1, 1, 1, 1, 0]
_NOTHING = np.zeros(1, np.uint8)
_PLACEHOLDER_SIDE = 16


def decode_kinds(canvas: Canvas, decoder: GpuDecoder | None) -> tuple[list[Any], list[int]]:
    """Types and dimensions of ``decode_inputs``."""
    kinds, dims = list(_COMMON_TYPES), list(_COMMON_DIMS)
    if canvas.on_gpu:
        kinds, dims = [*kinds, types.BOOL], [*dims, 0]
    if decoder is not None:
        kinds, dims = [*kinds, types.UINT8, *[types.INT32] * 2], [*dims, 1, 1, 1]
    return kinds, dims


def decode_inputs(
    jpegs: Jpegs, transforms: Transforms, canvas: Canvas, decoder: GpuDecoder | None
) -> list[Any]:
    """What ``squares`` takes of a batch: B files, and how each is cropped, resized and flipped."""
    t = transforms
    start, shape = t.boxes[:, :2].astype(np.int32), t.boxes[:, 2:].astype(np.int32)
    filters = np.where(t.bicubic, types.INTERP_CUBIC, types.INTERP_LINEAR).astype(np.int32)
    first, last = _corners(t, canvas.side)
    huge = is_huge(t.sizes)
    inputs: list[Any] = [list(jpegs), start, shape, first, last, filters]
    if canvas.on_gpu:
        inputs.append(huge)
    if decoder is not None:
        inputs[0] = [file if h else _NOTHING for file, h in zip(jpegs, huge, strict=True)]
        files = [_placeholder() if h else file for file, h in zip(jpegs, huge, strict=True)]
        is_kept = ~huge[:, None]
        inputs += [files, start * is_kept, np.where(is_kept, shape, np.int32(_PLACEHOLDER_SIDE))]
    return inputs


def squares(
    inputs: list[Node], canvas: Canvas, decoder: GpuDecoder | None, decode_only: bool
) -> Node:
    """(side, side, 3) uint8 images, or with ``decode_only`` the shapes of the decoded regions.

    Converted by DALI: each branch gets part of the batch. A huge image comes to the GPU as a
    square. The GPU's decoder gets the whole batch, with a small file in the place of a huge one:
    how many images the hardware takes is settled with its first batch, and must not depend on
    where a training was resumed.
    """
    files, start, shape, first, last, filters, *rest = inputs
    filters = fn.reinterpret(filters, dtype=types.INTERP_TYPE)
    if not canvas.on_gpu:
        region = _on_cpu(files, start, shape)
        return region.shape() if decode_only else _resized(region, first, last, filters, canvas)
    huge, *rest = rest
    if decoder is None:
        region = _on_cpu(files, start, shape)
        if decode_only:
            return region.shape()
        if huge:
            done = _resized(region, first, last, filters, canvas).gpu()
        else:
            done = _resized(region.gpu(), first, last, filters, canvas)
        return done
    region = _on_gpu(*rest, decoder)
    if huge:
        host = _on_cpu(files, start, shape)
        done = host.shape() if decode_only else _resized(host, first, last, filters, canvas).gpu()
    else:
        done = region.shape() if decode_only else _resized(region, first, last, filters, canvas)
    return done


def _on_cpu(files: Node, start: Node, shape: Node) -> Node:
    return fn.decoders.image_slice(
        files,
        start=start,
        shape=shape,
        axis_names="WH",
        adjust_orientation=False,
        output_type=types.RGB,
        device="cpu",
    )


def _on_gpu(files: Node, start: Node, shape: Node, decoder: GpuDecoder) -> Node:
    return fn.decoders.image_slice(
        files,
        start=start,
        shape=shape,
        axis_names="WH",
        adjust_orientation=False,
        output_type=types.RGB,
        device="mixed",
        jpeg_fancy_upsampling=True,  # as the CPU's decoder, and PIL's, do it
        hw_decoder_load=decoder.hardware_share,
        preallocate_width_hint=decoder.width_hint,
        preallocate_height_hint=decoder.height_hint,
        device_memory_padding=decoder.buffer_bytes,
        host_memory_padding=decoder.buffer_bytes,
    )


def _resized(region: Node, first: Node, last: Node, filters: Node, canvas: Canvas) -> Node:
    return fn.resize(
        region,
        size=[canvas.side, canvas.side],
        roi_start=first,
        roi_end=last,
        interp_type=filters,
        antialias=True,
    )


def _corners(transforms: Transforms, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(B, 2) y, x of the first and the last corner, in the decoded region, of what is seen.

    A flipped image is one whose first x is the larger.
    """
    t = transforms
    scale = t.boxes[:, 2:] / t.resized
    first, last = t.crops * scale, (t.crops + side) * scale
    flipped = np.stack([t.flips, np.zeros_like(t.flips)], axis=1)
    first, last = np.where(flipped, last, first), np.where(flipped, first, last)
    return first[:, ::-1].astype(np.float32), last[:, ::-1].astype(np.float32)


@cache
def _placeholder() -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.new("RGB", (_PLACEHOLDER_SIDE, _PLACEHOLDER_SIDE)).save(file, "JPEG")
    return np.frombuffer(file.getvalue(), np.uint8)
