"""Pixels from files: evaluation, the training crop, and all that training does to an image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.config.schema import AugmentConfig, EvaluateConfig
from pipeline.data.augment.operations import Op
from pipeline.data.augment.transforms import Transforms, eval_transforms, train_transforms
from pipeline.data.dali.operations import fill_of
from pipeline.data.parity import ours
from pipeline.data.parity.images import Picture, sizes_of
from pipeline.data.parity.reference import pixels as theirs
from pipeline.data.parity.rows import LevelBounds, Row, level_measures

# PIL rounds and clips between its two passes, which makes a level of difference here and there
# and more at steep edges, and a filter that reaches beyond the border has another way out.
_PHOTOGRAPH = LevelBounds(mean=0.5, most=32)
# Noise and checkerboards are steep edges alone, and most of these are scaled up a lot.
_CRAFTED = LevelBounds(mean=3, most=64)
# Without these two habits of PIL, what is left is how halves are rounded.
_PHOTOGRAPH_IN_FLOAT = LevelBounds(mean=0.05, most=1)
_CRAFTED_IN_FLOAT = LevelBounds(mean=0.2, most=1)
# What is a level off after one operation may be many after the next, such as Posterize.
_AS_DRAWN = LevelBounds(mean=5)

_EVALUATIONS = (
    *((0.9, "bilinear"), (0.9, "bicubic"), (0.95, "bicubic"), (1.0, "bilinear"), (1.0, "bicubic")),
)
_CROPS = 32
_SEED = 0


def pixel_rows(
    photographs: Sequence[Picture],
    crafted: Sequence[Picture],
    augment: AugmentConfig,
    evaluate: EvaluateConfig,
) -> Iterator[Row]:
    """Everything that starts from files; made-up ones may be none."""
    for name, pictures, bounds, in_float in (
        ("photographs", photographs, _PHOTOGRAPH, _PHOTOGRAPH_IN_FLOAT),
        ("made-up files", crafted, _CRAFTED, _CRAFTED_IN_FLOAT),
    ):
        if not pictures:
            continue
        yield from _evaluation_rows(
            f"Evaluation beside timm: {name}", pictures, augment, evaluate, (bounds, in_float)
        )
        section = f"Training crop beside timm: {name}"
        yield from _crop_rows(section, _repeated(pictures), augment, (bounds, in_float))
    yield from _drawn_rows(_repeated(photographs), augment)


def _evaluation_rows(
    section: str,
    pictures: Sequence[Picture],
    augment: AugmentConfig,
    evaluate: EvaluateConfig,
    bounds: tuple[LevelBounds, LevelBounds],
) -> Iterator[Row]:
    side, sizes = augment.img_size, sizes_of(pictures)
    settings = sorted({*_EVALUATIONS, (evaluate.crop_pct, evaluate.interpolation)})
    transforms = [
        eval_transforms(
            EvaluateConfig.model_validate({"crop_pct": crop_pct, "interpolation": name}),
            side,
            sizes,
        )
        for crop_pct, name in settings
    ]
    results = ours.transformed([picture.file for picture in pictures], transforms, augment)
    for (crop_pct, name), t, found in zip(settings, transforms, results, strict=True):
        timms: list[NDArray[np.uint8]] = []
        floats: list[NDArray[np.uint8]] = []
        for row, picture in enumerate(pictures):
            image = picture.rgb()
            timms.append(theirs.evaluated(image, side, crop_pct, name))
            box, size = tuple(t.boxes[row].tolist()), tuple(t.resized[row].tolist())
            whole = theirs.resized_in_float(image, box, size, bool(t.bicubic[row]))
            x, y = t.crops[row].tolist()
            floats.append(whole[y : y + side, x : x + side])
        what = f"{name}, crop_pct {crop_pct:g}"
        yield Row(section, what, level_measures(found, np.stack(timms), bounds[0]))
        measures = level_measures(found, np.stack(floats), bounds[1])
        yield Row(section, f"{what}, PIL in float", measures)


def _crop_rows(
    section: str,
    pictures: Sequence[Picture],
    augment: AugmentConfig,
    bounds: tuple[LevelBounds, LevelBounds],
) -> Iterator[Row]:
    size = (augment.img_size, augment.img_size)
    for pair in cropped_pairs(pictures, augment):
        bicubic, t = pair.bicubic, pair.transforms
        name = theirs.FILTER_NAMES[bicubic]
        yield Row(section, name, level_measures(pair.ours, pair.timms, bounds[0]))
        floats: list[NDArray[np.uint8]] = []
        for picture, box, flip in zip(pictures, t.boxes.tolist(), t.flips.tolist(), strict=True):
            pixels = theirs.resized_in_float(picture.rgb(), tuple(box), size, bicubic)
            floats.append(pixels[:, ::-1] if flip else pixels)
        measures = level_measures(pair.ours, np.stack(floats), bounds[1])
        yield Row(section, f"{name}, PIL in float", measures)


@dataclass(frozen=True)
class CropPair:
    """B training crops, in one of the filters."""

    bicubic: bool
    transforms: Transforms
    ours: NDArray[np.uint8]
    """(B, img_size, img_size, 3)"""
    timms: NDArray[np.uint8]
    """(B, img_size, img_size, 3)"""


def cropped_pairs(pictures: Sequence[Picture], augment: AugmentConfig) -> Iterator[CropPair]:
    """Boxes as drawn for training, some flipped: first bilinear, then bicubic."""
    plain = augment.model_copy(update={"aa": None, "color_jitter": None})
    drawn = _drawn(pictures, plain)
    transforms = [
        replace(drawn, bicubic=np.full(len(pictures), bicubic)) for bicubic in theirs.FILTER_NAMES
    ]
    results = ours.transformed([picture.file for picture in pictures], transforms, plain)
    for bicubic, t, found in zip(theirs.FILTER_NAMES, transforms, results, strict=True):
        yield CropPair(bicubic, t, found, _timms(pictures, t))


def _drawn_rows(pictures: Sequence[Picture], augment: AugmentConfig) -> Iterator[Row]:
    t = _drawn(pictures, augment)
    (found,) = ours.transformed([picture.file for picture in pictures], [t], augment)
    timms = _timms(pictures, t)
    fill, operations = fill_of(augment), t.operations
    for row, layer in np.ndindex(operations.ops.shape):
        op = Op(int(operations.ops[row, layer]))
        # Warps are bilinear in DALI; see the rows of the operations.
        bicubic = bool(operations.bicubic[row, layer]) and op not in theirs.WARPS
        argument = float(operations.arguments[row, layer])
        timms[row] = theirs.operated(timms[row], op, argument, bicubic, fill)
    yield Row(
        "All of training beside timm: photographs",
        f"crop, flip, {operations.layers} operations as drawn",
        level_measures(found, timms, _AS_DRAWN),
    )


def _repeated(pictures: Sequence[Picture]) -> list[Picture]:
    """Few images come several times, each with a box of its own."""
    return [*pictures] * max(1, _CROPS // len(pictures))


def _drawn(pictures: Sequence[Picture], augment: AugmentConfig) -> Transforms:
    ids = np.arange(len(pictures))
    return train_transforms(augment, _SEED, 0, ids, sizes_of(pictures))


def _timms(pictures: Sequence[Picture], t: Transforms) -> NDArray[np.uint8]:
    side = int(t.resized[0, 0])
    each = zip(pictures, t.boxes.tolist(), t.bicubic.tolist(), t.flips.tolist(), strict=True)
    return np.stack(
        [
            theirs.cropped(picture.rgb(), tuple(box), side, bicubic, flip)
            for picture, box, bicubic, flip in each
        ]
    )
