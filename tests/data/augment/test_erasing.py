"""Erased boxes lie in the image, on the right share of images, with noise of their own."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.schema import AugmentConfig
from pipeline.data.augment.erasing import draw_erasures, erasing_boxes

IDS = np.arange(4000)


def config(**values: object) -> AugmentConfig:
    return AugmentConfig.model_validate(values)


@given(side=st.integers(8, 300), count=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_boxes_lie_inside(side: int, count: int, seed: int) -> None:
    boxes = erasing_boxes(config(img_size=side, recount=count, reprob=1.0), seed, 3, IDS[:50])
    top, left, height, width = np.moveaxis(boxes, 2, 0)
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= side).all() and (left + width <= side).all()
    assert ((height > 0) == (width > 0)).all() and (height < side).all() and (width < side).all()


def test_share_and_count() -> None:
    boxes = erasing_boxes(config(recount=3), 1, 0, IDS)
    erased = (boxes[:, :, 2] > 0).sum(axis=1)
    assert abs((erased > 0).mean() - 0.25) < 3.3 * np.sqrt(0.25 * 0.75 / len(IDS))
    shares = [(erased == count).sum() / (erased > 0).sum() for count in (1, 2, 3)]
    assert np.allclose(shares, 1 / 3, atol=0.05)
    assert erasing_boxes(config(reprob=0.0), 1, 0, IDS).max() == 0


def test_noise_is_each_samples_own_and_of_no_batch() -> None:
    all_on = config(reprob=1.0, recount=2, img_size=64)
    batch = draw_erasures(all_on, 5, 2, IDS[:16])
    sizes = 3 * batch.boxes[:, 3] * batch.boxes[:, 4]
    assert len(batch.values) == sizes.sum()
    assert abs(batch.values.mean()) < 0.02 and abs(batch.values.std() - 1) < 0.02
    starts = np.cumsum([0, *sizes])
    alone = draw_erasures(all_on, 5, 2, IDS[7:8])
    rows = np.flatnonzero(batch.boxes[:, 0] == 7)
    assert np.array_equal(alone.boxes[:, 1:], batch.boxes[rows, 1:])
    assert np.array_equal(alone.values, batch.values[starts[rows[0]] : starts[rows[-1] + 1]])
    firsts = {float(batch.values[start]) for start in starts[:-1]}
    assert len(firsts) == len(sizes)
    other_epoch = draw_erasures(all_on, 5, 3, IDS[:16])
    assert not np.array_equal(other_epoch.values[:50], batch.values[:50])


def test_noise_is_pinned() -> None:
    """A change here changes every training: it must be deliberate."""
    drawn = draw_erasures(config(reprob=1.0, img_size=32), 42, 1, IDS[:1])
    assert drawn.boxes.tolist() == PINNED_BOX
    assert np.allclose(drawn.values[:4], PINNED_VALUES, atol=1e-6)


def test_modes() -> None:
    for mode, per_box in (("rand", 3), ("const", 3)):
        drawn = draw_erasures(config(remode=mode, reprob=1.0), 1, 0, IDS[:8])
        assert len(drawn.values) == per_box * len(drawn.boxes) and not drawn.per_pixel
        assert (drawn.values == 0).all() == (mode == "const")


PINNED_BOX = [[0, 7, 5, 25, 11]]
PINNED_VALUES = [-1.6367447, 1.6147467, 1.2998301, -0.6942964]
