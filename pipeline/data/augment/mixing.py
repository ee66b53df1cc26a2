"""Mixup and cutmix: one draw for a micro-batch, each image mixed with its mirror in the batch."""

# scipy has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from pipeline.config.schema import AugmentConfig
from pipeline.data.philox import Stream, uniforms


@dataclass(frozen=True)
class Mix:
    """How image i of B is mixed with image B-1-i, as timm's Mixup in its mode ``batch``."""

    lam: float
    """Share of the image itself, and of its label; after clipping of the box for cutmix."""
    box: tuple[int, int, int, int] | None
    """Top, left, bottom, right of what comes from the other image; None is mixup."""


def draw_mix(config: AugmentConfig, seed: int, step: int, micro_batch: int) -> Mix | None:
    """The mix of a micro-batch; None where the config asks for none."""
    if config.mixup == 0 and config.cutmix == 0:
        return None
    switch, quantile, down, right = uniforms(seed, Stream.MIX, (step, np.array([micro_batch])), 4)[
        0
    ].tolist()
    both = config.mixup > 0 and config.cutmix > 0
    is_cutmix = switch < config.mixup_switch_prob if both else config.cutmix > 0
    alpha = config.cutmix if is_cutmix else config.mixup
    lam = float(betaincinv(alpha, alpha, quantile))
    if not is_cutmix:
        return Mix(lam, None)
    box = _cut_box(config.img_size, lam, down, right)
    return Mix(1.0 - (box[2] - box[0]) * (box[3] - box[1]) / config.img_size**2, box)


def _cut_box(side: int, lam: float, down: float, right: float) -> tuple[int, int, int, int]:
    """A square of 1 - lam of the area around any pixel, clipped at the image's border."""
    cut = int(side * np.sqrt(1.0 - lam))
    low, high = cut // 2, (cut + 1) // 2
    y, x = int(down * side), int(right * side)
    return (
        max(y - low, 0),
        max(x - low, 0),
        min(y + high, side),
        min(x + high, side),
    )
