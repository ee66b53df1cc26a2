"""All that happens to an image before it is mixed, drawn or computed: train and evaluation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config.policy import parse_policy
from pipeline.config.schema import AugmentConfig, EvaluateConfig
from pipeline.data.augment.crop import CROP_DRAWS, random_resized_crop, short_side_to
from pipeline.data.augment.operations import Operations, no_operations
from pipeline.data.augment.rand_augment import color_jitter, rand_augment
from pipeline.data.philox import Stream, uniforms


@dataclass(frozen=True)
class Transforms:
    """What happens to each of B images, in this order; all lengths in pixels."""

    sizes: NDArray[np.int64]
    """(B, 2) width and height of the image."""
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
    operations: Operations
    """Changes of geometry and colour, of the img_size square."""

    def kept(self, rows: NDArray[np.int64]) -> "Transforms":
        """Those of some of the images; rows: (N,) positions."""
        return Transforms(
            self.sizes[rows],
            self.boxes[rows],
            self.resized[rows],
            self.crops[rows],
            self.bicubic[rows],
            self.flips[rows],
            self.operations.kept(rows),
        )


def train_transforms(
    config: AugmentConfig, seed: int, epoch: int, ids: NDArray[np.int64], sizes: NDArray[np.int64]
) -> Transforms:
    """Training transforms. ids: (B,) sample ids; sizes: (B, 2) width, height of the images."""
    count, address = len(ids), (epoch, ids)
    if config.train_interpolation == "random":
        bicubic = uniforms(seed, Stream.FILTER, address, 1)[:, 0] < 0.5
    else:
        bicubic = np.full(count, config.train_interpolation == "bicubic")
    draws = uniforms(seed, Stream.CROP, address, CROP_DRAWS)
    return Transforms(
        sizes=sizes,
        boxes=random_resized_crop(draws, sizes, config.scale, config.ratio),
        resized=np.full((count, 2), config.img_size),
        crops=np.zeros((count, 2), np.int64),
        bicubic=bicubic,
        flips=uniforms(seed, Stream.FLIP, address, 1)[:, 0] < config.hflip,
        operations=_operations(config, seed, epoch, ids),
    )


def operation_layers(config: AugmentConfig) -> int:
    """How many operations ``train_transforms`` gives an image, NONE included."""
    nothing = np.zeros(0, np.int64)
    return _operations(config, 0, 0, nothing).layers


def _operations(config: AugmentConfig, seed: int, epoch: int, ids: NDArray[np.int64]) -> Operations:
    if config.aa is not None:
        policy = parse_policy(config.aa)
        return rand_augment(policy, config.train_interpolation, seed, epoch, ids)
    if config.color_jitter:
        return color_jitter(config.color_jitter, seed, epoch, ids)
    return no_operations(len(ids))


def eval_transforms(config: EvaluateConfig, img_size: int, sizes: NDArray[np.int64]) -> Transforms:
    """Short side to img_size / crop_pct, then the central square, as timm evaluates.

    sizes: (B, 2) width, height of the images.
    """
    count = len(sizes)
    resized = short_side_to(int(np.floor(img_size / config.crop_pct)), sizes)
    return Transforms(
        sizes=sizes,
        boxes=np.concatenate([np.zeros((count, 2), np.int64), sizes], axis=1),
        resized=resized,
        crops=np.rint((resized - img_size) / 2).astype(np.int64),
        bicubic=np.full(count, config.interpolation == "bicubic"),
        flips=np.zeros(count, np.bool_),
        operations=no_operations(count),
    )
