"""What timm, torchvision and PIL make of an image."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data import auto_augment, create_transform
from timm.data.transforms import RandomResizedCropAndInterpolation
from torchvision.transforms import functional as tv

from pipeline.data.augment.operations import Op

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]

WARPS = (Op.ROTATE, Op.SHEAR_X, Op.SHEAR_Y)
"""Operations that move pixels in two dimensions."""
FILTER_NAMES = {False: "bilinear", True: "bicubic"}
_RESAMPLING = {False: Image.Resampling.BILINEAR, True: Image.Resampling.BICUBIC}


def evaluated(image: Image.Image, side: int, crop_pct: float, filter_name: str) -> Pixels:
    """(side, side, 3) of timm's transform for evaluation."""
    transform: Any = create_transform(
        side, is_training=False, interpolation=filter_name, crop_pct=crop_pct, normalize=False
    )
    return transform(image).permute(1, 2, 0).numpy()


def cropped(image: Image.Image, box: Box, side: int, bicubic: bool, flip: bool) -> Pixels:
    """(side, side, 3) of timm's random resized crop where it draws this box.

    box: x, y, width, height.
    """
    x, y, width, height = box

    class Boxed(RandomResizedCropAndInterpolation):
        @staticmethod
        def get_params(img: Any, scale: Any, ratio: Any) -> Box:
            return y, x, height, width

    square: Any = Boxed(side, interpolation=FILTER_NAMES[bicubic])(image)
    return np.asarray(tv.hflip(square) if flip else square)


def resized_in_float(image: Image.Image, box: Box, size: tuple[int, int], bicubic: bool) -> Pixels:
    """PIL's resize of a box but for two habits of its own: (height, width, 3).

    PIL rounds and clips between its two passes, and leaves out what a filter sees beyond the
    border; here all is float, and the border's pixels go on. size: width, height.
    """
    x, y, width, height = box
    rim = 2 * int(np.ceil(max(1.0, width / size[0], height / size[1]))) + 1
    part = np.asarray(image.crop((x, y, x + width, y + height)), np.float32)
    wider = np.pad(part, ((rim, rim), (rim, rim), (0, 0)), mode="edge")
    inner = (rim, rim, rim + width, rim + height)
    channels = [
        np.asarray(Image.fromarray(wider[:, :, i]).resize(size, _RESAMPLING[bicubic], inner))
        for i in range(3)
    ]
    return np.floor(np.stack(channels, axis=2) + 0.5).clip(0, 255).astype(np.uint8)


def fill_of(mean: tuple[float, float, float]) -> tuple[int, int, int]:
    """RGB of what timm's operations leave empty. mean: of pixels in 0..1."""
    stages: Any = create_transform(
        is_training=True, auto_augment="rand-m9", mean=mean, separate=True
    )
    _, operations, _ = stages
    return operations.transforms[0].ops[0].kwargs["fillcolor"]


_PLAIN: dict[Op, Callable[..., Image.Image]] = {
    Op.NONE: lambda image: image,
    Op.AUTO_CONTRAST: auto_augment.auto_contrast,
    Op.EQUALIZE: auto_augment.equalize,
    Op.INVERT: auto_augment.invert,
}
_WITH_ARGUMENT: dict[Op, Callable[..., Image.Image]] = {
    Op.COLOR: auto_augment.color,
    Op.CONTRAST: auto_augment.contrast,
    Op.BRIGHTNESS: auto_augment.brightness,
    Op.SHARPNESS: auto_augment.sharpness,
    Op.ROTATE: auto_augment.rotate,
    Op.SHEAR_X: auto_augment.shear_x,
    Op.SHEAR_Y: auto_augment.shear_y,
    Op.TRANSLATE_X_REL: auto_augment.translate_x_rel,
    Op.TRANSLATE_Y_REL: auto_augment.translate_y_rel,
}
_WITH_WHOLE_NUMBER: dict[Op, Callable[..., Image.Image]] = {
    Op.POSTERIZE: auto_augment.posterize,
    Op.SOLARIZE: auto_augment.solarize,
    Op.SOLARIZE_ADD: auto_augment.solarize_add,
}


def operated(
    square: Pixels, op: Op, argument: float, bicubic: bool, fill: tuple[int, int, int]
) -> Pixels:
    """(side, side, 3) of timm's function for an operation."""
    image = Image.fromarray(square)
    if op in _PLAIN:
        done = _PLAIN[op](image)
    elif op in _WITH_WHOLE_NUMBER:
        done = _WITH_WHOLE_NUMBER[op](image, int(argument))
    else:
        done = _WITH_ARGUMENT[op](image, argument, resample=_RESAMPLING[bicubic], fillcolor=fill)
    return np.asarray(done)


_JITTERS: dict[Op, Callable[..., Any]] = {
    Op.BRIGHTNESS: tv.adjust_brightness,
    Op.CONTRAST: tv.adjust_contrast,
    Op.COLOR: tv.adjust_saturation,
}


def jittered(square: Pixels, ops: Sequence[Op], factors: Sequence[float]) -> Pixels:
    """(side, side, 3) of torchvision's adjustments, one after the other."""
    image: Any = Image.fromarray(square)
    for op, factor in zip(ops, factors, strict=True):
        image = _JITTERS[op](image, factor)
    return np.asarray(image)
