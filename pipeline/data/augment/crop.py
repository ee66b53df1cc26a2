"""Where an image is cropped and to what size: torchvision's rules, vectorised."""

import numpy as np
from numpy.typing import NDArray

CROP_TRIES = 10
CROP_DRAWS = 4 * CROP_TRIES


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
    tries = draws.reshape(len(sizes), CROP_TRIES, 4)
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


def short_side_to(short: int, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sizes with the short side scaled to ``short`` pixels, as torchvision's Resize.

    sizes: (B, 2) width, height. Returns (B, 2).
    """
    is_wide = sizes[:, 0] >= sizes[:, 1]
    # torchvision truncates the long side; integer arithmetic avoids its float error.
    long = short * sizes.max(axis=1) // sizes.min(axis=1)
    return np.stack([np.where(is_wide, long, short), np.where(is_wide, short, long)], axis=1)
