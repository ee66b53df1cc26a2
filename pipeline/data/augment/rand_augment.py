"""Which operations an image gets: timm's RandAugment, and torchvision's colour jitter."""

import numpy as np
from numpy.typing import NDArray

from pipeline.config.policy import RandAugmentPolicy
from pipeline.data.augment.operations import Op, Operations, arguments_of
from pipeline.data.philox import Stream, uniforms

_DRAWS_PER_LAYER = 8
_JITTERED = np.array([Op.BRIGHTNESS, Op.CONTRAST, Op.COLOR], np.int8)


def rand_augment(
    policy: RandAugmentPolicy,
    interpolation: str,
    seed: int,
    epoch: int,
    ids: NDArray[np.int64],
) -> Operations:
    """Operations of timm's ``rand_augment_transform`` for the (B,) sample ids of an epoch.

    interpolation: random, bilinear or bicubic, of the geometric operations.
    """
    count, layers = len(ids), policy.layers
    draws = uniforms(seed, Stream.RAND_AUGMENT, (epoch, ids), _DRAWS_PER_LAYER * layers)
    which, applied, radius, angle, sign, filters, _, _ = np.moveaxis(
        draws.reshape(count, layers, _DRAWS_PER_LAYER), 2, 0
    )
    ops = (1 + np.floor(which * (len(Op) - 1))).astype(np.int8)
    levels = _levels(policy, radius, angle)
    bicubic = filters < 0.5 if interpolation == "random" else interpolation == "bicubic"
    return Operations(
        ops=np.where(applied <= policy.prob, ops, np.int8(Op.NONE)),
        arguments=arguments_of(ops, levels, sign > 0.5, policy.increasing),
        bicubic=np.broadcast_to(bicubic, ops.shape),
    )


def _levels(
    policy: RandAugmentPolicy, radius: NDArray[np.float64], angle: NDArray[np.float64]
) -> NDArray[np.float64]:
    if policy.magnitude_std == np.inf:
        levels = policy.magnitude * radius
    else:
        # Box and Muller's transform of two uniform numbers.
        normal = np.sqrt(-2.0 * np.log(radius)) * np.cos(2.0 * np.pi * angle)
        levels = policy.magnitude + policy.magnitude_std * normal
    return np.clip(levels, 0.0, policy.magnitude_max)


def color_jitter(strength: float, seed: int, epoch: int, ids: NDArray[np.int64]) -> Operations:
    """torchvision's ColorJitter(strength, strength, strength), in an order of its own per image.

    Factors are uniform in max(0, 1 - strength) .. 1 + strength. ids: (B,) sample ids.
    """
    draws = uniforms(seed, Stream.COLOR_JITTER, (epoch, ids), 2 * len(_JITTERED))
    order = np.argsort(draws[:, : len(_JITTERED)], axis=1)
    low, high = max(0.0, 1.0 - strength), 1.0 + strength
    return Operations(
        ops=_JITTERED[order],
        arguments=low + (high - low) * draws[:, len(_JITTERED) :],
        bicubic=np.zeros(order.shape, np.bool_),
    )
