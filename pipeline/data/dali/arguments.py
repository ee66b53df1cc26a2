"""From timm's operations to the arguments of DALI's operators. Pure; imports no DALI."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.data.augment.operations import Op, Operations

# PIL cuts fractions off where DALI rounds to the nearest; a little less than a half, so that
# what is a whole number stays one.
TRUNCATE = -0.499
_LUMA = np.array([19595, 38470, 7471]) / 65536  # PIL's weights of red, green and blue
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13  # PIL's ImageFilter.SMOOTH
_KEEP = np.ones((1, 1), np.float32)
_CUBIC = -1.0  # of PIL's transform; its resize has -0.5


class Family(IntEnum):
    """Operations that one chain of DALI operators carries out."""

    NONE = 0
    WARP = 1
    FILTER = 2
    LINEAR = 3
    CONTRAST = 4
    AUTO_CONTRAST = 5
    EQUALIZE = 6
    POSTERIZE = 7
    SOLARIZE = 8
    SOLARIZE_ADD = 9
    MATRIX = 10


FAMILIES = {
    Op.NONE: Family.NONE,
    Op.AUTO_CONTRAST: Family.AUTO_CONTRAST,
    Op.EQUALIZE: Family.EQUALIZE,
    Op.INVERT: Family.LINEAR,
    Op.ROTATE: Family.WARP,
    Op.POSTERIZE: Family.POSTERIZE,
    Op.SOLARIZE: Family.SOLARIZE,
    Op.SOLARIZE_ADD: Family.SOLARIZE_ADD,
    Op.COLOR: Family.MATRIX,
    Op.CONTRAST: Family.CONTRAST,
    Op.BRIGHTNESS: Family.LINEAR,
    Op.SHARPNESS: Family.FILTER,
    Op.SHEAR_X: Family.WARP,
    Op.SHEAR_Y: Family.WARP,
    Op.TRANSLATE_X_REL: Family.FILTER,
    Op.TRANSLATE_Y_REL: Family.FILTER,
}
_FAMILY_OF = np.array([FAMILIES[op] for op in Op], np.int32)


@dataclass(frozen=True)
class LayerArguments:
    """One layer of operations on B images of ``side`` pixels, as DALI takes it.

    Each family reads its own fields; those of other families hold what changes nothing.
    """

    family: NDArray[np.int32]
    """(B,) of Family."""
    level: NDArray[np.uint8]
    """(B,) POSTERIZE: the mask of the bits kept. SOLARIZE: larger values are inverted.
    SOLARIZE_ADD: is added to values under 128."""
    linear: NDArray[np.float32]
    """(B, 2): factor, and the value that it leaves alone; the latter is measured for CONTRAST."""
    kernels: list[NDArray[np.float32]]
    """B correlation kernels, of any odd sides."""
    shifts: NDArray[np.int32]
    """(B, 2) y, x of the input pixel that becomes the first one."""
    colors: NDArray[np.float32]
    """(B, 3, 4) from RGB and 1 to RGB."""
    warps: NDArray[np.float32]
    """(B, 2, 3) from output to input coordinates, whose origin is the corner of a pixel."""


def layer_arguments(operations: Operations, layer: int, side: int) -> LayerArguments:
    """Arguments of one layer for square images of ``side`` pixels."""
    ops, args = operations.ops[:, layer], operations.arguments[:, layer]
    # A threshold of 0 inverts every value.
    ops = np.where((ops == Op.SOLARIZE) & (args <= 0), np.int8(Op.INVERT), ops)
    kernels, shifts = _filters(ops, args, operations.bicubic[:, layer], side)
    inverts = ops == Op.INVERT
    return LayerArguments(
        family=_FAMILY_OF[ops],
        level=_level(ops, args),
        linear=np.stack(
            [np.where(inverts, -1.0, args), np.where(inverts, 127.5, 0.0)], axis=1
        ).astype(np.float32),
        kernels=kernels,
        shifts=shifts,
        colors=_colors(args),
        warps=_warps(ops, args, side),
    )


def _level(ops: NDArray[np.int8], args: NDArray[np.float64]) -> NDArray[np.uint8]:
    cleared = np.clip(8 - args, 0, 8).astype(np.int64)
    level = np.where(ops == Op.POSTERIZE, 255 >> cleared << cleared, 0)
    level = np.where(ops == Op.SOLARIZE, args - 1, level)
    return np.where(ops == Op.SOLARIZE_ADD, args, level).astype(np.uint8)


def _colors(factors: NDArray[np.float64]) -> NDArray[np.float32]:
    """PIL's Color: between the grey image and the image."""
    kept, grey = factors[:, None, None] * np.eye(3), (1 - factors)[:, None, None] * _LUMA
    shift = np.full((len(factors), 3, 1), TRUNCATE)
    return np.concatenate([kept + grey, shift], axis=2).astype(np.float32)


def _filters(
    ops: NDArray[np.int8], args: NDArray[np.float64], bicubic: NDArray[np.bool_], side: int
) -> tuple[list[NDArray[np.float32]], NDArray[np.int32]]:
    kernels = [_KEEP] * len(ops)
    shifts = np.zeros((len(ops), 2), np.int32)
    for i in np.flatnonzero(_FAMILY_OF[ops] == Family.FILTER).tolist():
        if ops[i] == Op.SHARPNESS:
            kernel = (1 - args[i]) * _SMOOTH
            kernel[1, 1] += args[i]
            kernels[i] = kernel.astype(np.float32)
            continue
        # A shift is a whole one, and a filter that looks between the pixels.
        pixels = args[i] * side
        whole = int(np.floor(pixels + 0.5))
        taps = _between(pixels - whole, bool(bicubic[i]))
        is_x = ops[i] == Op.TRANSLATE_X_REL
        kernels[i] = taps[None, :] if is_x else taps[:, None]
        shifts[i, 1 if is_x else 0] = whole
    return kernels, shifts


def _between(fraction: float, bicubic: bool) -> NDArray[np.float32]:
    """Weights of the pixels at -2..2 (bicubic) or -1..1 for a look at ``fraction``, |.| <= 0.5."""
    reach = 2 if bicubic else 1
    at = np.abs(np.arange(-reach, reach + 1) - fraction)
    if not bicubic:
        return np.maximum(0.0, 1.0 - at).astype(np.float32)
    near = (_CUBIC + 2) * at**3 - (_CUBIC + 3) * at**2 + 1
    far = _CUBIC * (at**3 - 5 * at**2 + 8 * at - 4)
    return np.where(at < 1, near, np.where(at < 2, far, 0.0)).astype(np.float32)


def _warps(ops: NDArray[np.int8], args: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """PIL's matrices: x' = x + s y for ShearX; Rotate turns around the centre."""
    matrices = np.tile(np.eye(2, 3), (len(ops), 1, 1))
    turns = ops == Op.ROTATE
    angles = np.radians(np.where(turns, args, 0.0))
    cos, sin = np.cos(angles), np.sin(angles)
    rotation = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], axis=1)
    centre = np.full(2, side / 2)
    matrices[turns, :, :2] = rotation[turns]
    matrices[turns, :, 2] = (centre - rotation @ centre)[turns]
    matrices[ops == Op.SHEAR_X, 0, 1] = args[ops == Op.SHEAR_X]
    matrices[ops == Op.SHEAR_Y, 1, 0] = args[ops == Op.SHEAR_Y]
    return matrices.astype(np.float32)
