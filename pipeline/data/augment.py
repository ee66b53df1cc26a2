"""Every random parameter of a sample, drawn from (seed, epoch, sample id). Pure, vectorised."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config.schema import AugmentConfig, EvaluateConfig
from pipeline.data.philox import uniforms

# One stream per kind of draw: adding one leaves the others' numbers alone.
_STREAM_CROP, _STREAM_FLIP, _STREAM_FILTER, _STREAM_DROP_PATH, _STREAM_TORCH = range(1, 6)
_CROP_TRIES = 10


@dataclass(frozen=True)
class Transforms:
    """What happens to each of B images, in this order; all lengths in pixels."""

    boxes: NDArray[np.int64]
    """(B, 4) x, y, width, height of the region to decode."""
    resized: NDArray[np.int64]
    """(B, 2) width and height that the region is resized to."""
    crops: NDArray[np.int64]
    """(B, 2) x, y of the img_size square in the resized region."""
    bicubic: NDArray[np.bool_]
    """(B,) resize filter: bicubic, else bilinear; both antialiased."""
    flips: NDArray[np.bool_]
    """(B,) horizontal flip."""


def not_executed(config: AugmentConfig) -> list[str]:
    """Settings of the recipe that are asked for but not carried out by this version."""
    asked = {
        "aa": config.aa is not None,
        "color_jitter": bool(config.color_jitter) and config.aa is None,
        "mixup": config.mixup > 0,
        "cutmix": config.cutmix > 0,
        "reprob": config.reprob > 0,
    }
    return [f"augment.{name}={getattr(config, name)}" for name, is_on in asked.items() if is_on]


def train_transforms(
    config: AugmentConfig, seed: int, epoch: int, ids: NDArray[np.int64], sizes: NDArray[np.int64]
) -> Transforms:
    """Training transforms. ids: (B,) sample ids; sizes: (B, 2) width, height of the images."""
    count = len(ids)
    flip = uniforms(seed, _STREAM_FLIP, (epoch, ids), 1)[:, 0]
    if config.train_interpolation == "random":
        bicubic = uniforms(seed, _STREAM_FILTER, (epoch, ids), 1)[:, 0] < 0.5
    else:
        bicubic = np.full(count, config.train_interpolation == "bicubic")
    return Transforms(
        boxes=random_resized_crop(
            uniforms(seed, _STREAM_CROP, (epoch, ids), 4 * _CROP_TRIES),
            sizes,
            config.scale,
            config.ratio,
        ),
        resized=np.full((count, 2), config.img_size),
        crops=np.zeros((count, 2), np.int64),
        bicubic=bicubic,
        flips=flip < config.hflip,
    )


def random_resized_crop(
    draws: NDArray[np.float64],
    sizes: NDArray[np.int64],
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> NDArray[np.int64]:
    """Crop boxes by the rule of torchvision's RandomResizedCrop.

    draws: (B, 40) uniform, four per try: area, log ratio, x, y; sizes: (B, 2) width, height.
    Returns (B, 4) x, y, width, height. The first of ten tries that fits is taken, else the
    largest central box within the ratio bounds.
    """
    tries = draws.reshape(len(sizes), _CROP_TRIES, 4)
    full_w, full_h = sizes[:, :1], sizes[:, 1:]
    area = full_w * full_h * (scale[0] + (scale[1] - scale[0]) * tries[:, :, 0])
    log_low, log_high = np.log(ratio[0]), np.log(ratio[1])
    aspect = np.exp(log_low + (log_high - log_low) * tries[:, :, 1])
    width = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    height = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (width > 0) & (width <= full_w) & (height > 0) & (height <= full_h)
    left = np.floor(tries[:, :, 2] * (full_w - width + 1)).astype(np.int64)
    top = np.floor(tries[:, :, 3] * (full_h - height + 1)).astype(np.int64)
    boxes = np.stack([left, top, width, height], axis=2)
    first = boxes[np.arange(len(sizes)), np.argmax(fits, axis=1)]
    return np.where(fits.any(axis=1)[:, None], first, _central_box(sizes, ratio))


def _central_box(sizes: NDArray[np.int64], ratio: tuple[float, float]) -> NDArray[np.int64]:
    width, height = sizes[:, 0], sizes[:, 1]
    aspect = width / height
    too_tall, too_wide = aspect < ratio[0], aspect > ratio[1]
    new_height = np.where(too_tall, np.rint(width / ratio[0]).astype(np.int64), height)
    new_width = np.where(too_wide, np.rint(height * ratio[1]).astype(np.int64), width)
    return np.stack(
        [(width - new_width) // 2, (height - new_height) // 2, new_width, new_height], axis=1
    )


def eval_transforms(config: EvaluateConfig, img_size: int, sizes: NDArray[np.int64]) -> Transforms:
    """Short side to img_size / crop_pct, then the central square, as timm evaluates.

    sizes: (B, 2) width, height of the images.
    """
    count = len(sizes)
    short = int(np.floor(img_size / config.crop_pct))
    is_wide = sizes[:, 0] >= sizes[:, 1]
    # torchvision truncates the long side; integer arithmetic avoids its float error.
    long = short * sizes.max(axis=1) // sizes.min(axis=1)
    resized = np.stack([np.where(is_wide, long, short), np.where(is_wide, short, long)], axis=1)
    return Transforms(
        boxes=np.concatenate([np.zeros((count, 2), np.int64), sizes], axis=1),
        resized=resized,
        crops=np.rint((resized - img_size) / 2).astype(np.int64),
        bicubic=np.full(count, config.interpolation == "bicubic"),
        flips=np.zeros(count, np.bool_),
    )


def drop_path_scales(
    rates: NDArray[np.float64], seed: int, step: int, micro_batch: int, batch: int
) -> NDArray[np.float32]:
    """What each residual branch of each image is multiplied with: 0, or 1 / (1 - rate).

    rates: (L,) drop rates of the branches; step and micro_batch: their numbers, the latter
    under 65,536 as is ``batch``. Returns (batch, L).
    """
    ids = np.arange(batch, dtype=np.int64) + (micro_batch << 16)
    draws = uniforms(seed, _STREAM_DROP_PATH, (step, ids), len(rates))
    return np.where(draws < rates, 0.0, 1.0 / (1.0 - rates)).astype(np.float32)


def torch_seed(seed: int, step: int, micro_batch: int) -> int:
    """Seed of the device's generator for a micro-batch, for layers that draw by themselves."""
    draw = uniforms(seed, _STREAM_TORCH, (step, np.array([micro_batch])), 2)[0]
    return int(draw[0] * 2**31) << 31 | int(draw[1] * 2**31)
