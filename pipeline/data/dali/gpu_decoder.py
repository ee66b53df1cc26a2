"""Which images a GPU decodes, and what is set aside for that: by their sizes alone. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_PIXELS = 1 << 22
"""Images with more are huge: they are decoded and resized on the CPU.

A decoder on the GPU works on whole images, keeps what it once needed, and each of its threads
has buffers of its own. 256 images of this size take 3.2 GB as they are decoded, as much again in
the hardware's planes, and 25 MB of coefficients per thread; 256 of 5000 x 6000 would take 46 GB.
In ImageNet few images are that large, and the CPU's work for them is small.
"""
_MOST_PREALLOCATED_BYTES = 1 << 30
_BYTES_PER_PIXEL = 3  # three planes, where the chroma is whole
_COEFFICIENT_BYTES_PER_PIXEL = 6  # of 16 bits, in as many planes
_USUAL = 99
"""Percentile of widths and heights that the hardware's buffers are made for at once."""


@dataclass(frozen=True)
class GpuDecoder:
    """DALI's decoder on the GPU: what it sets aside at the start, and who decodes."""

    width_hint: int
    height_hint: int
    """Pixels of an image that fits in the hardware's buffers, of which a batch has one each."""
    buffer_bytes: int
    """Of the coefficients of one image: per thread once on the device and twice on the host."""
    hardware_share: float
    """Share of a batch's JPEGs for the hardware decoder; the CUDA decoder has the others."""


def is_huge(sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """sizes: (B, 2) width, height. Returns (B,): the CPU decodes and resizes it."""
    return sizes.prod(axis=1) > MOST_PIXELS


def gpu_decoder(sizes: NDArray[np.int64], batch_size: int, hardware_share: float) -> GpuDecoder:
    """What suits a split. sizes: (N, 2) width, height of its images, or of many of them.

    One image in a hundred is larger than the hint: it makes the hardware's buffers grow, which
    costs time once. The hardware's buffers take 1 GiB at most, whatever the images.
    """
    kept = sizes[~is_huge(sizes)]
    if len(kept) == 0:
        kept = np.ones((1, 2), np.int64)
    width, height = np.percentile(kept, _USUAL, axis=0)
    most_pixels = _MOST_PREALLOCATED_BYTES / (_BYTES_PER_PIXEL * batch_size)
    scale = min(1.0, np.sqrt(most_pixels / (width * height)))
    return GpuDecoder(
        width_hint=max(1, int(width * scale)),
        height_hint=max(1, int(height * scale)),
        buffer_bytes=int(kept.prod(axis=1).max()) * _COEFFICIENT_BYTES_PER_PIXEL,
        hardware_share=hardware_share,
    )
