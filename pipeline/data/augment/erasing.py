"""Random erasing: which boxes of which images are overwritten, and with what. timm's rules."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config.schema import AugmentConfig
from pipeline.data.philox import Stream, uniforms

_AREA = (0.02, 1 / 3)
_LOG_ASPECT = (float(np.log(0.3)), float(np.log(1 / 0.3)))
_TRIES = 10


@dataclass(frozen=True)
class Erasures:
    """E boxes to overwrite in a batch of normalised images, and the values, one after another."""

    boxes: NDArray[np.int64]
    """(E, 5): image in the batch, top, left, height, width."""
    values: NDArray[np.float32]
    """(N,) of all boxes, channels first: 3 x height x width each, or 3 each."""
    per_pixel: bool
    """Every pixel has values of its own; else a box has one colour."""


def draw_erasures(config: AugmentConfig, seed: int, epoch: int, ids: NDArray[np.int64]) -> Erasures:
    """Boxes and fillings of timm's RandomErasing for the (B,) sample ids of an epoch."""
    boxes = erasing_boxes(config, seed, epoch, ids)
    rows, slots = np.nonzero(boxes[:, :, 2] > 0)
    kept = np.concatenate([rows[:, None], boxes[rows, slots]], axis=1)
    values = [
        _values(config.remode, seed, epoch, int(ids[row]), int(slot), height, width)
        for (row, _, _, height, width), slot in zip(kept.tolist(), slots.tolist(), strict=True)
    ]
    flat = np.concatenate(values) if values else np.zeros(0, np.float32)
    return Erasures(kept, flat, per_pixel=config.remode == "pixel")


def erasing_boxes(
    config: AugmentConfig, seed: int, epoch: int, ids: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(B, recount, 4) top, left, height, width in an img_size square; height 0 is no box.

    Per box the first of ten tries that is smaller than the image is taken, as in timm.
    """
    most, side = config.recount, config.img_size
    draws = uniforms(seed, Stream.ERASING, (epoch, ids), 2 + 4 * _TRIES * most)
    is_erased = draws[:, 0] <= config.reprob
    counts = 1 + np.floor(draws[:, 1] * most).astype(np.int64)
    tries = draws[:, 2:].reshape(len(ids), most, _TRIES, 4)
    share = _AREA[0] + (_AREA[1] - _AREA[0]) * tries[..., 0]
    area = share * side * side / counts[:, None, None]
    aspect = np.exp(_LOG_ASPECT[0] + (_LOG_ASPECT[1] - _LOG_ASPECT[0]) * tries[..., 1])
    height = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    width = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (width < side) & (height < side)
    top = np.floor(tries[..., 2] * (side - height + 1)).astype(np.int64)
    left = np.floor(tries[..., 3] * (side - width + 1)).astype(np.int64)
    boxes = np.stack([top, left, height, width], axis=-1)
    first = np.argmax(fits, axis=2)[..., None, None]
    taken = np.take_along_axis(boxes, first, axis=2)[:, :, 0]
    is_taken = fits.any(axis=2) & is_erased[:, None] & (np.arange(most) < counts[:, None])
    is_taken &= (taken[..., 2:] > 0).all(axis=2)  # in tiny images a side may round to 0
    return np.where(is_taken[..., None], taken, 0)


def _values(
    mode: str, seed: int, epoch: int, sample: int, slot: int, height: int, width: int
) -> NDArray[np.float32]:
    if mode == "const":
        return np.zeros(3, np.float32)
    # On the host, so that CPUs and GPUs get the same numbers.
    key = (seed << 32 | Stream.ERASING_NOISE, epoch << 32 | sample)
    rng = np.random.Generator(np.random.Philox(key=key, counter=slot << 128))
    size = 3 * height * width if mode == "pixel" else 3
    return rng.standard_normal(size, np.float32)
