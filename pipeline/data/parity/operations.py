"""Each operation at fixed arguments, beside timm's function for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from pipeline.config.schema import AugmentConfig
from pipeline.data.augment.operations import SIGNED_RANGES, Op, Operations
from pipeline.data.dali.operations import fill_of
from pipeline.data.parity import ours
from pipeline.data.parity.images import Picture, crafted_squares, squares_of
from pipeline.data.parity.reference import pixels as theirs
from pipeline.data.parity.rows import LevelBounds, Measure, Row, level_measures, worst


@dataclass(frozen=True)
class Case:
    """An operation with its argument."""

    op: Op
    argument: float
    bicubic: bool = False

    @property
    def is_substituted(self) -> bool:
        """DALI's warp knows no bicubic filter; bilinear takes its place."""
        return self.bicubic and self.op in theirs.WARPS

    @property
    def text(self) -> str:
        """Such as ``ROTATE -27 bicubic``."""
        filters = f" {theirs.FILTER_NAMES[self.bicubic]}" if self.op in SIGNED_RANGES else ""
        argument = "" if self.op in _WITHOUT_ARGUMENT else f" {self.argument:g}"
        return f"{self.op.name}{argument}{filters}"


_WITHOUT_ARGUMENT = (Op.AUTO_CONTRAST, Op.EQUALIZE, Op.INVERT)
_BLENDS = (0.1, 0.19, 0.73, 1.81, 1.9)
# What the policies draw at levels 9 and 10, and some values between.
_ARGUMENTS: dict[Op, tuple[float, ...]] = {
    **dict.fromkeys(_WITHOUT_ARGUMENT, (0.0,)),
    Op.POSTERIZE: (0, 1, 3, 4, 8),
    Op.SOLARIZE: (0, 26, 77, 230, 256),
    Op.SOLARIZE_ADD: (0, 99, 110, 128),
    Op.COLOR: _BLENDS,
    Op.CONTRAST: _BLENDS,
    Op.BRIGHTNESS: _BLENDS,
    Op.SHARPNESS: _BLENDS,
    Op.ROTATE: (-30, -27, 13.37, 27),
    Op.SHEAR_X: (-0.3, -0.27, 0.27),
    Op.SHEAR_Y: (-0.3, -0.27, 0.27),
    Op.TRANSLATE_X_REL: (-0.45, -0.4031, 0.2, 0.405),
    Op.TRANSLATE_Y_REL: (-0.45, -0.4031, 0.2, 0.405),
}

_SAME = LevelBounds(mean=0, most=0)
_A_LEVEL = LevelBounds(mean=1, most=1)
_BOUNDS: dict[Op, LevelBounds] = {
    Op.INVERT: _SAME,
    Op.POSTERIZE: _SAME,
    Op.SOLARIZE: _SAME,
    Op.SOLARIZE_ADD: _SAME,
    # PIL leaves the outermost pixels as they are, DALI goes on with what is at the border.
    Op.SHARPNESS: LevelBounds(inner=1),
}
_BICUBIC_WARP = LevelBounds(mean=10)
# Three operations in a row, each a level off, and contrast spreads them.
_JITTER = LevelBounds(mean=1, most=5)

_ODD_SIDE = 65
_FACTORS = (0.6, 1.4)
_JITTERED = (Op.BRIGHTNESS, Op.CONTRAST, Op.COLOR)


def cases() -> list[Case]:
    """Every operation with its arguments, in both filters where it has one."""
    return [
        Case(op, argument, bicubic)
        for op, arguments in _ARGUMENTS.items()
        for argument in arguments
        for bicubic in ((False, True) if op in SIGNED_RANGES else (False,))
    ]


def _bounds(op: Op, side: int) -> LevelBounds:
    if op == Op.EQUALIZE:
        # PIL's pixels per level are a whole number: in small images that is far from exact.
        off = 255**2 / side**2
        return LevelBounds(mean=1 + off / 2, most=round(2 + 2 * off))
    return _BOUNDS.get(op, _A_LEVEL)


def operation_rows(photographs: Sequence[Picture], augment: AugmentConfig) -> Iterator[Row]:
    """Operations and colour jitter, on squares that need no decoding or resizing."""
    fill, side = fill_of(augment), augment.img_size
    squares = squares_of(photographs, side)
    apart = np.abs(np.subtract(fill, theirs.fill_of(augment.mean))).max()
    measure = Measure("max", float(apart), 0)
    yield Row("Operations beside timm", "colour of what is left empty", (measure,))
    yield from _photograph_rows(squares, fill)
    awkward = [
        np.stack(crafted_squares(side)),
        np.stack(crafted_squares(_ODD_SIDE)),
        squares_of(photographs, _ODD_SIDE),
    ]
    yield from _awkward_rows(awkward, fill)
    yield from _jitter_rows(squares, fill)


def _photograph_rows(squares: NDArray[np.uint8], fill: tuple[int, int, int]) -> Iterator[Row]:
    section = f"Operations beside timm: photographs, {squares.shape[1]} px"
    every = cases()
    expected = squares
    for case, found in zip(every, our_pixels(squares, every, fill), strict=True):
        bounds = _bounds(case.op, squares.shape[1])
        if not case.is_substituted:
            expected = their_pixels(squares, case, fill)
            yield Row(section, case.text, level_measures(found, expected, bounds))
            continue
        cubic = their_pixels(squares, case, fill)
        yield Row(section, case.text, level_measures(found, cubic, _BICUBIC_WARP))
        # The case before is the bilinear one.
        measures = level_measures(found, expected, bounds)
        yield Row(section, f"{case.text}, timm's bilinear", measures)


def _awkward_rows(sets: Sequence[NDArray[np.uint8]], fill: tuple[int, int, int]) -> Iterator[Row]:
    sides = sorted({squares.shape[1] for squares in sets})
    text = " and ".join(map(str, sides))
    section = f"Operations beside timm: made-up images, {text} px; photographs, {_ODD_SIDE} px"
    every = [case for case in cases() if not case.is_substituted]
    found: dict[Op, list[tuple]] = {}
    for squares in sets:
        for case, pixels in zip(every, our_pixels(squares, every, fill), strict=True):
            expected = their_pixels(squares, case, fill)
            measures = level_measures(pixels, expected, _bounds(case.op, sides[0]))
            found.setdefault(case.op, []).append(measures)
    for op, measures in found.items():
        what = f"{op.name} bilinear" if op in theirs.WARPS else op.name
        yield Row(section, what, worst(measures))


def _jitter_rows(squares: NDArray[np.uint8], fill: tuple[int, int, int]) -> Iterator[Row]:
    section = f"Colour jitter beside torchvision: photographs, {squares.shape[1]} px"
    count = len(squares)
    drawn = [
        (order, factors)
        for order in permutations(_JITTERED)
        for factors in ((_FACTORS[0], _FACTORS[1], _FACTORS[1]), (_FACTORS[1], *_FACTORS))
    ]
    operations = [
        Operations(
            np.tile(np.array(order, np.int8), (count, 1)),
            np.tile(factors, (count, 1)),
            np.zeros((count, len(order)), np.bool_),
        )
        for order, factors in drawn
    ]
    results = ours.operated(squares, operations, fill)
    for (order, factors), found in zip(drawn, results, strict=True):
        expected = np.stack([theirs.jittered(square, order, factors) for square in squares])
        steps = [f"{op.name} {f:g}" for op, f in zip(order, factors, strict=True)]
        yield Row(section, ", ".join(steps), level_measures(found, expected, _JITTER))


def our_pixels(
    squares: NDArray[np.uint8], every: Sequence[Case], fill: tuple[int, int, int]
) -> Iterator[NDArray[np.uint8]]:
    """The squares, (B, side, side, 3), after each of the cases."""
    shape = (len(squares), 1)
    operations = [
        Operations(
            np.full(shape, case.op, np.int8),
            np.full(shape, float(case.argument)),
            np.full(shape, case.bicubic),
        )
        for case in every
    ]
    return ours.operated(squares, operations, fill)


def their_pixels(
    squares: NDArray[np.uint8], case: Case, fill: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """The squares, (B, side, side, 3), after timm's function for the case."""
    return np.stack(
        [theirs.operated(square, case.op, case.argument, case.bicubic, fill) for square in squares]
    )
