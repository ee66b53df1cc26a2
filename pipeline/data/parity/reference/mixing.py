"""What timm makes of a batch: mixed, normalised, erased, and its targets and losses."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data.loader import PrefetchLoader
from timm.data.mixup import FastCollateMixup, Mixup, cutmix_bbox_and_lam
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor

from pipeline.config.schema import AugmentConfig
from pipeline.data.augment.erasing import Erasures
from pipeline.data.augment.mixing import Mix
from pipeline.data.parity.reference.draws import seeded

NUM_CLASSES = 1000
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class TimmBatch:
    """A batch from timm, and what it drew for it."""

    images: Tensor
    """(B, 3, side, side) float32, normalised."""
    targets: Tensor
    """(B, NUM_CLASSES), smoothed."""
    mix: Mix
    erasures: Erasures | None


def mixed(
    pixels: NDArray[np.uint8],
    labels: Tensor,
    config: AugmentConfig,
    lam: float,
    is_cutmix: bool,
    seed: int,
) -> TimmBatch:
    """timm's Mixup with this share, on floats; without its prefetcher it mixes last.

    pixels: (B, side, side, 3); labels: (B,) int64.
    """
    images, _ = next(iter(_loader([(_channels_first(pixels), labels)], config, erases=False)))
    mixup = Mixup(label_smoothing=config.smoothing, num_classes=NUM_CLASSES)
    _inject(mixup, lam, is_cutmix)
    with seeded(seed):
        images, targets = mixup(images, labels)
    return TimmBatch(images, targets, _mix(images.shape, lam, is_cutmix, seed), None)


def loaded(
    pixels: NDArray[np.uint8],
    labels: Tensor,
    config: AugmentConfig,
    lam: float,
    is_cutmix: bool,
    seed: int,
) -> TimmBatch:
    """What timm's loader with prefetcher makes of a batch, with this share; every image erased.

    pixels: (B, side, side, 3); labels: (B,) int64. Where timm mixes pixels, it rounds them.
    """
    collate = FastCollateMixup(label_smoothing=config.smoothing, num_classes=NUM_CLASSES)
    _inject(collate, lam, is_cutmix)
    images = _channels_first(pixels)
    with seeded(seed):
        batch = collate([*zip(images.numpy(), labels.tolist(), strict=True)])
    loader = _loader([batch], config, erases=True)
    with seeded(seed):
        result, targets = next(iter(loader))
    with seeded(seed):
        blank = loader.random_erasing(torch.full(images.shape, torch.nan))
    mix = _mix(images.shape, lam, is_cutmix, seed)
    return TimmBatch(result, targets, mix, _erasures(blank, config.remode))


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """timm's loss of soft targets, which are smoothed already."""
    return SoftTargetCrossEntropy()(logits, targets)


def unmixed_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """timm's loss of (B,) labels."""
    return LabelSmoothingCrossEntropy(smoothing)(logits, labels)


def _channels_first(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _loader(batches: list[Any], config: AugmentConfig, erases: bool) -> Any:
    loader: Any = batches
    return PrefetchLoader(
        loader,
        mean=config.mean,
        std=config.std,
        device=_CPU,
        re_prob=float(erases),
        re_mode=config.remode,
        re_count=1,
    )


def _inject(mixup: Any, lam: float, is_cutmix: bool) -> None:
    mixup._params_per_batch = lambda: (lam, is_cutmix)


def _mix(shape: Any, lam: float, is_cutmix: bool, seed: int) -> Mix:
    """The box that timm's Mixup draws from the same seed, and the share that is left."""
    if not is_cutmix:
        return Mix(lam, None)
    with seeded(seed):
        (top, bottom, left, right), share = cutmix_bbox_and_lam(shape, lam)
    return Mix(float(share), (int(top), int(left), int(bottom), int(right)))


def _erasures(blank: Tensor, mode: str) -> Erasures:
    """What was written over NaN: one box per image at most."""
    boxes: list[list[int]] = []
    values: list[Tensor] = []
    for row, image in enumerate(blank):
        rows, columns = torch.nonzero(~image[0].isnan(), as_tuple=True)
        if not len(rows):
            continue
        top, left = int(rows.min()), int(columns.min())
        height, width = int(rows.max()) + 1 - top, int(columns.max()) + 1 - left
        boxes.append([row, top, left, height, width])
        box = image[:, top : top + height, left : left + width]
        values.append((box if mode == "pixel" else box[:, 0, 0]).flatten())
    return Erasures(np.array(boxes), torch.cat(values).numpy(), per_pixel=mode == "pixel")
