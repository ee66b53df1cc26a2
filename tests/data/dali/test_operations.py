"""A batch of different operations: each image gets its own, as if it were alone."""

import numpy as np

from pipeline.data.augment.operations import SIGNED_RANGES, Op, Operations
from pipeline.data.parity.ours import operated

FILL = (124, 116, 104)
ARGUMENTS = {
    **{op: most * 0.9 for op, most in SIGNED_RANGES.items()},
    **{Op.POSTERIZE: 2.0, Op.SOLARIZE: 26.0, Op.SOLARIZE_ADD: 99.0},
}
SIDE = 48


def operations(ops: np.ndarray) -> Operations:
    """ops: (B, L)."""
    arguments = np.vectorize(lambda op: ARGUMENTS.get(Op(op), 0.3))(ops)
    return Operations(ops.astype(np.int8), arguments, ops % 2 == 0)


def squares(count: int) -> np.ndarray:
    """(count, SIDE, SIDE, 3): no two are alike."""
    across, down = np.meshgrid(*[np.linspace(30, 160, SIDE)] * 2)
    array = np.stack([across, down, 190 - across], axis=2).astype(np.uint8)
    return np.stack([np.roll(array, 5 * i, axis=0) for i in range(count)])


def test_mixed_batches_are_as_images_alone() -> None:
    ops = np.array([int(op) for op in Op])
    images = squares(len(ops))
    alone = [operations(np.full((len(ops), 1), op)) for op in ops]
    *every, mixed, turned = operated(
        images, [*alone, operations(ops[:, None]), operations(ops[::-1, None])], FILL
    )
    for row, op in enumerate(ops.tolist()):
        assert np.array_equal(mixed[row], every[op][row]), Op(op)
        assert np.array_equal(turned[row], every[len(ops) - 1 - op][row]), Op(op)
    assert np.array_equal(mixed[Op.NONE], images[Op.NONE])
    changed = (mixed != images).any(axis=(1, 2, 3))
    assert changed[ops != Op.NONE].all()


def test_layers_follow_each_other() -> None:
    ops = np.stack([np.roll([int(op) for op in Op], shift) for shift in (0, 5)], axis=1)
    images = squares(len(ops))
    (first,) = operated(images, [operations(ops[:, :1])], FILL)
    (second,) = operated(first, [operations(ops[:, 1:])], FILL)
    (both,) = operated(images, [operations(ops)], FILL)
    assert np.array_equal(both, second)
