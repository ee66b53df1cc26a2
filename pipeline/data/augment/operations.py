"""timm's image operations: their numbers, and what a magnitude means for each. Vectorised."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.config.policy import LEVELS


class Op(IntEnum):
    """An operation on an image, in the order in which timm's RandAugment lists them."""

    NONE = 0
    AUTO_CONTRAST = 1
    EQUALIZE = 2
    INVERT = 3
    ROTATE = 4
    POSTERIZE = 5
    SOLARIZE = 6
    SOLARIZE_ADD = 7
    COLOR = 8
    CONTRAST = 9
    BRIGHTNESS = 10
    SHARPNESS = 11
    SHEAR_X = 12
    SHEAR_Y = 13
    TRANSLATE_X_REL = 14
    TRANSLATE_Y_REL = 15


ENHANCE = (Op.COLOR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS)
SIGNED_RANGES = {
    Op.ROTATE: 30.0,
    Op.SHEAR_X: 0.3,
    Op.SHEAR_Y: 0.3,
    Op.TRANSLATE_X_REL: 0.45,
    Op.TRANSLATE_Y_REL: 0.45,
}
"""Argument at level 10; either sign."""


@dataclass(frozen=True)
class Operations:
    """What is done to each of B images, L operations one after the other."""

    ops: NDArray[np.int8]
    """(B, L) of Op; NONE where nothing happens."""
    arguments: NDArray[np.float64]
    """(B, L): degrees; pixels of shear per pixel; shift as a fraction of the side; factor of
    an enhancement (1 changes nothing); bits kept; threshold; addend; else 0."""
    bicubic: NDArray[np.bool_]
    """(B, L) interpolation of the geometric operations: bicubic, else bilinear."""

    @property
    def layers(self) -> int:
        return self.ops.shape[1]

    def kept(self, rows: NDArray[np.int64]) -> "Operations":
        """Those of some of the images; rows: (N,) positions."""
        return Operations(self.ops[rows], self.arguments[rows], self.bicubic[rows])


def no_operations(count: int) -> Operations:
    """Nothing, for ``count`` images."""
    return Operations(
        np.zeros((count, 0), np.int8), np.zeros((count, 0)), np.zeros((count, 0), np.bool_)
    )


def arguments_of(
    ops: NDArray[np.int8],
    levels: NDArray[np.float64],
    negative: NDArray[np.bool_],
    increasing: bool,
) -> NDArray[np.float64]:
    """Arguments by timm's ``_*_level_to_arg``. All arrays of one shape.

    levels: magnitudes in levels, 10 is the nominal maximum; negative: sign of what is signed;
    increasing: the variants of Posterize, Solarize and the enhancements that grow stronger
    with the level.
    """
    share = levels / LEVELS
    sign = np.where(negative, -1.0, 1.0)
    arguments = np.zeros(ops.shape)
    for op, most in SIGNED_RANGES.items():
        arguments = np.where(ops == op, sign * share * most, arguments)
    if increasing:
        factor = np.maximum(0.1, 1.0 + sign * share * 0.9)
        bits = 4.0 - np.trunc(share * 4)
        threshold = 256.0 - np.minimum(256.0, np.trunc(share * 256))
    else:
        factor = 0.1 + share * 1.8
        bits = np.trunc(share * 4)
        threshold = np.minimum(256.0, np.trunc(share * 256))
    arguments = np.where(np.isin(ops, ENHANCE), factor, arguments)
    arguments = np.where(ops == Op.POSTERIZE, bits, arguments)
    arguments = np.where(ops == Op.SOLARIZE, threshold, arguments)
    addend = np.minimum(128.0, np.trunc(share * 110))
    return np.where(ops == Op.SOLARIZE_ADD, addend, arguments)
