"""What is drawn: our numbers beside those of timm's and torchvision's own samplers."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.config.schema import AugmentConfig
from pipeline.data.augment.erasing import draw_erasures, erasing_boxes
from pipeline.data.augment.mixing import draw_mix
from pipeline.data.augment.operations import ENHANCE, SIGNED_RANGES, Op
from pipeline.data.augment.rand_augment import color_jitter
from pipeline.data.augment.transforms import train_transforms
from pipeline.data.parity.likelihood import p_rows, p_same, p_together
from pipeline.data.parity.reference import draws as theirs
from pipeline.data.parity.reference.draws import MixDraws, TrainDraws
from pipeline.data.parity.rows import Measure, Row

COUNT = 20_000
# There are about 100: by chance, one of them is smaller for one seed in 100; ours are fixed.
LEAST_P = 1e-4
_OUR_SEED, _THEIR_SEED = 1, 2

_SIZE = (500, 375)
_SIZES = (
    *((500, 375), (375, 500), (224, 224), (1280, 1024), (90, 70)),
    *((300, 900), (2000, 40), (30, 1000), (7, 5)),
)
_FEW_PIXELS = (2, 3)
_JITTER = 0.4  # timm's default, where the config asks for none


def distribution_rows(
    ours: AugmentConfig, timms: AugmentConfig, count: int = COUNT
) -> Iterator[Row]:
    """What we draw for a config, and timm for another; the same where all is to be ok."""
    yield from _crop_rows(ours, timms, count)
    mine, its = _ours(ours, _SIZE, count), theirs.train_draws(timms, _SIZE, count, _THEIR_SEED)
    yield _row(
        "crop's filter, flip",
        {"filter": p_same(mine.bicubic, its.bicubic), "flip": p_same(mine.flips, its.flips)},
    )
    if ours.aa:
        yield from _operation_rows(mine, its)
    if ours.reprob:
        yield from _erasing_rows(mine, its)
        yield _row("erasing's values", {"value": _p_erasing_values(ours, timms, count)})
    yield _row("all of an image", {"together": p_rows(_all_of(mine), _all_of(its))})
    if ours.mixup or ours.cutmix:
        yield from _mix_rows(_our_mixes(ours, count), theirs.mix_draws(timms, count, _THEIR_SEED))
    yield from _jitter_rows(ours.color_jitter or _JITTER, timms.color_jitter or _JITTER, count)


def _row(what: str, p_values: Mapping[str, float]) -> Row:
    measures = (Measure(name, p, LEAST_P, is_least=True) for name, p in p_values.items())
    return Row("Draws beside timm and torchvision: p-values", what, tuple(measures))


def _numbers_row(what: str, mine: Mapping[str, NDArray], its: Mapping[str, NDArray]) -> Row:
    """Each of several numbers alone, and all of them together."""
    apart = {name: p_same(mine[name], its[name]) for name in mine}
    together = p_together([*mine.values()], [*its.values()])
    return _row(what, {**apart, "together": together})


def _crop_rows(ours: AugmentConfig, timms: AugmentConfig, count: int) -> Iterator[Row]:
    bare = ours.model_copy(update={"aa": None, "color_jitter": None})
    for size in (*_SIZES, _FEW_PIXELS):
        by_torchvision = size == _FEW_PIXELS
        mine = train_transforms(bare, _OUR_SEED, 0, np.arange(count), np.tile(size, (count, 1)))
        its = theirs.crop_boxes(timms, size, count, _THEIR_SEED, by_torchvision)
        peer = ", torchvision" if by_torchvision else ""
        yield _numbers_row(
            f"crop, image of {size[0]} x {size[1]}{peer}",
            _crop_numbers(mine.boxes),
            _crop_numbers(its),
        )


def _crop_numbers(boxes: NDArray[np.int64]) -> dict[str, NDArray]:
    x, y, width, height = boxes.T
    return {"area": width * height, "ratio": width / height, "x": x, "y": y}


def _operation_rows(mine: TrainDraws, its: TrainDraws) -> Iterator[Row]:
    applied = [(drawn.ops != Op.NONE).sum(axis=1) for drawn in (mine, its)]
    yield _row(
        "operations",
        {
            "which": p_same(mine.ops.ravel(), its.ops.ravel()),
            "how many": p_same(*applied),
            "in which order": p_rows(mine.ops, its.ops),
        },
    )
    for op in Op:
        if op in SIGNED_RANGES or op in ENHANCE or op in _WITH_WHOLE_NUMBER:
            p_values = _p_argument(op, *(drawn.arguments[drawn.ops == op] for drawn in (mine, its)))
            yield _row(f"argument of {op.name}", p_values)
    filters = []
    for drawn in (mine, its):
        moves = np.isin(drawn.ops, list(SIGNED_RANGES))
        filters.append(np.stack([drawn.ops[moves], drawn.ops_bicubic[moves]], axis=1))
    yield _row("operations' filters", {"filter": p_rows(*filters)})


_WITH_WHOLE_NUMBER = (Op.POSTERIZE, Op.SOLARIZE, Op.SOLARIZE_ADD)


def _p_argument(op: Op, mine: NDArray[np.float64], its: NDArray[np.float64]) -> dict[str, float]:
    if op in _WITH_WHOLE_NUMBER:
        return {"value": p_same(mine, its)}
    # Enhancements that grow with the level lie on both sides of 1, which changes nothing.
    middle = 0.0 if op in SIGNED_RANGES else 1.0
    return {
        "size": p_same(np.abs(mine - middle), np.abs(its - middle)),
        "sign": p_same(mine > middle, its > middle),
    }


def _erasing_rows(mine: TrainDraws, its: TrainDraws) -> Iterator[Row]:
    boxes = [drawn.erased[drawn.erased[:, :, 2] > 0] for drawn in (mine, its)]
    counts = [(drawn.erased[:, :, 2] > 0).sum(axis=1) for drawn in (mine, its)]
    yield _row("erasing, boxes per image", {"how many": p_same(*counts)})
    numbers = [
        {"area": h * w, "aspect": h / w, "top": top, "left": left}
        for top, left, h, w in (drawn.T for drawn in boxes)
    ]
    yield _numbers_row("erasing, box", *numbers)


def _p_erasing_values(ours: AugmentConfig, timms: AugmentConfig, count: int) -> float:
    # A box has a value per pixel, thousands, or three.
    images = 64 if ours.remode == "pixel" else count // 3 + 1
    every = ours.model_copy(update={"reprob": 1.0})
    values = draw_erasures(every, _OUR_SEED, 0, np.arange(images)).values[:count]
    return p_same(values, theirs.erasing_values(timms.remode, count, _THEIR_SEED))


def _all_of(drawn: TrainDraws) -> NDArray[np.int64]:
    """(N, 5) of what must not hang together."""
    return np.stack(
        [
            drawn.flips,
            drawn.bicubic,
            (drawn.ops != Op.NONE).sum(axis=1),
            (drawn.erased[:, :, 2] > 0).any(axis=1),
            drawn.boxes[:, 2] > _SIZE[0] // 2,
        ],
        axis=1,
    ).astype(np.int64)


def _mix_rows(mine: MixDraws, its: MixDraws) -> Iterator[Row]:
    yield _row("mixup or cutmix", {"which": p_same(mine.cutmix, its.cutmix)})
    if not (mine.cutmix.all() and its.cutmix.all()):
        yield _row("mixup", {"share": p_same(mine.lam[~mine.cutmix], its.lam[~its.cutmix])})
    if not (mine.cutmix.any() or its.cutmix.any()):
        return
    numbers = []
    for drawn in (mine, its):
        top, left, bottom, right = drawn.boxes[drawn.cutmix].T
        lam = drawn.lam[drawn.cutmix]
        numbers.append(
            {"share": lam, "top": top, "left": left, "height": bottom - top, "width": right - left}
        )
    yield _numbers_row("cutmix", *numbers)


def _jitter_rows(ours: float, timms: float, count: int) -> Iterator[Row]:
    drawn = color_jitter(ours, _OUR_SEED, 0, np.arange(count))
    ops, factors = theirs.jitter_draws(timms, count, _THEIR_SEED)
    yield _row("colour jitter", {"order": p_rows(drawn.ops.astype(np.int64), ops)})
    jittered = (Op.BRIGHTNESS, Op.CONTRAST, Op.COLOR)
    numbers = [
        {op.name.lower(): arguments[which == op] for op in jittered}
        for which, arguments in ((drawn.ops, drawn.arguments), (ops, factors))
    ]
    yield _numbers_row("colour jitter's factors", *numbers)


def _ours(config: AugmentConfig, size: tuple[int, int], count: int) -> TrainDraws:
    config = config.model_copy(update={"color_jitter": None})  # has rows of its own
    ids = np.arange(count)
    t = train_transforms(config, _OUR_SEED, 0, ids, np.tile(size, (count, 1)))
    # As timm's notes: what is applied, in its order.
    order = np.argsort(t.operations.ops == Op.NONE, axis=1, kind="stable")
    erased = erasing_boxes(config, _OUR_SEED, 0, ids)
    return TrainDraws(
        boxes=t.boxes,
        bicubic=t.bicubic,
        flips=t.flips,
        ops=np.take_along_axis(t.operations.ops.astype(np.int64), order, axis=1),
        arguments=np.take_along_axis(t.operations.arguments, order, axis=1),
        ops_bicubic=np.take_along_axis(t.operations.bicubic, order, axis=1),
        erased=np.take_along_axis(
            erased, np.argsort(erased[:, :, 2:3] == 0, axis=1, kind="stable"), axis=1
        ),
    )


def _our_mixes(config: AugmentConfig, count: int) -> MixDraws:
    drawn = [draw_mix(config, _OUR_SEED, step, 0) for step in range(count)]
    mixes = [mix for mix in drawn if mix is not None]
    return MixDraws(
        lam=np.array([mix.lam for mix in mixes]),
        cutmix=np.array([mix.box is not None for mix in mixes]),
        boxes=np.array([mix.box or (0, 0, 0, 0) for mix in mixes]),
    )
