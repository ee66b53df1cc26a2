"""A sheet of pictures: each step as timm does it, as we do it, and where they differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.config.schema import AugmentConfig, EvaluateConfig
from pipeline.data.augment.operations import Op
from pipeline.data.augment.transforms import eval_transforms
from pipeline.data.dali.operations import fill_of
from pipeline.data.parity import ours
from pipeline.data.parity.images import Picture, sizes_of, squares_of
from pipeline.data.parity.operations import Case, our_pixels, their_pixels
from pipeline.data.parity.pixels import cropped_pairs
from pipeline.data.parity.reference import pixels as theirs

_TILE_PX = 128
_GAP_PX, _LABEL_PX, _FONT_PX, _TITLE_PX = 4, 20, 14, 18
_COLUMNS = 2
_GAIN = 8
_TITLE = f"each: original | timm | ours | difference x {_GAIN}, black is none"

_CASES = (
    *(Case(op, 0) for op in (Op.AUTO_CONTRAST, Op.EQUALIZE, Op.INVERT)),
    *(Case(Op.POSTERIZE, 1), Case(Op.SOLARIZE, 26), Case(Op.SOLARIZE_ADD, 99)),
    *(Case(op, 1.81) for op in (Op.COLOR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS)),
    *(Case(Op.ROTATE, 27, bicubic) for bicubic in (False, True)),
    *(Case(Op.SHEAR_X, 0.27, bicubic) for bicubic in (False, True)),
    *(Case(Op.SHEAR_Y, -0.27, bicubic) for bicubic in (False, True)),
    *(Case(Op.TRANSLATE_X_REL, 0.405, bicubic) for bicubic in (False, True)),
    *(Case(Op.TRANSLATE_Y_REL, -0.405, bicubic) for bicubic in (False, True)),
)


@dataclass(frozen=True)
class Strip:
    """One line of pictures, each (side, side, 3) uint8."""

    label: str
    original: NDArray[np.uint8]
    timm: NDArray[np.uint8]
    ours: NDArray[np.uint8]


def draw_sheet(
    photographs: Sequence[Picture], augment: AugmentConfig, evaluate: EvaluateConfig
) -> Image.Image:
    """Evaluation, the training crop and every operation, on two photographs in turn."""
    small = augment.model_copy(update={"img_size": _TILE_PX})
    strips = [
        *_evaluation_strips(photographs[:2], small, evaluate),
        *_crop_strips(photographs[:2], small),
        *_operation_strips(photographs[:2], small),
    ]
    lines = -(-len(strips) // _COLUMNS)
    width = 4 * (_TILE_PX + _GAP_PX) + 3 * _GAP_PX
    height = _LABEL_PX + _TILE_PX + _GAP_PX
    top = _TITLE_PX + 3 * _GAP_PX
    sheet = Image.new("RGB", (_COLUMNS * width + 2 * _GAP_PX, top + lines * height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((2 * _GAP_PX, _GAP_PX), _TITLE, "black", ImageFont.load_default(size=_TITLE_PX))
    font = ImageFont.load_default(size=_FONT_PX)
    for number, strip in enumerate(strips):
        column, line = divmod(number, lines)
        x, y = 2 * _GAP_PX + column * width, top + line * height
        draw.text((x, y), strip.label, "black", font)
        for place, pixels in enumerate(_tiles(strip)):
            sheet.paste(Image.fromarray(pixels), (x + place * (_TILE_PX + _GAP_PX), y + _LABEL_PX))
    return sheet


def _tiles(strip: Strip) -> Iterator[NDArray[np.uint8]]:
    yield strip.original
    yield strip.timm
    yield strip.ours
    apart = np.abs(strip.timm.astype(np.int64) - strip.ours)
    yield np.minimum(_GAIN * apart, 255).astype(np.uint8)


def _strip(
    what: str, original: NDArray[np.uint8], timm: NDArray[np.uint8], mine: NDArray[np.uint8]
) -> Strip:
    apart = np.abs(timm.astype(np.int64) - mine)
    return Strip(f"{what}: mean {apart.mean():.2f}, max {apart.max()}", original, timm, mine)


def _evaluation_strips(
    photographs: Sequence[Picture], augment: AugmentConfig, evaluate: EvaluateConfig
) -> Iterator[Strip]:
    side = augment.img_size
    t = eval_transforms(evaluate, side, sizes_of(photographs))
    (found,) = ours.transformed([picture.file for picture in photographs], [t], augment)
    for picture, mine, square in zip(
        photographs, found, squares_of(photographs, side), strict=True
    ):
        timm = theirs.evaluated(picture.rgb(), side, evaluate.crop_pct, evaluate.interpolation)
        what = f"evaluation, {evaluate.interpolation}, crop_pct {evaluate.crop_pct:g}"
        yield _strip(what, square, timm, mine)


def _crop_strips(photographs: Sequence[Picture], augment: AugmentConfig) -> Iterator[Strip]:
    squares = squares_of(photographs, augment.img_size)
    for number, pair in enumerate(cropped_pairs(photographs, augment)):
        which = number % len(squares)
        what = f"training crop, {theirs.FILTER_NAMES[pair.bicubic]}"
        yield _strip(what, squares[which], pair.timms[which], pair.ours[which])


def _operation_strips(photographs: Sequence[Picture], augment: AugmentConfig) -> Iterator[Strip]:
    fill = fill_of(augment)
    squares = squares_of(photographs, augment.img_size)
    for number, (case, found) in enumerate(
        zip(_CASES, our_pixels(squares, _CASES, fill), strict=True)
    ):
        which = number % len(squares)
        timm = their_pixels(squares[which : which + 1], case, fill)[0]
        yield _strip(case.text, squares[which], timm, found[which])
