"""Transforms: valid for any image, distributed as torchvision's, evaluation as timm's."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import transforms as tv

from pipeline.config.schema import AugmentConfig, EvaluateConfig
from pipeline.data.augment.transforms import eval_transforms, train_transforms

CONFIG = AugmentConfig()
sides = st.integers(1, 6000)


@given(width=sides, height=sides, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 3000))
def test_boxes_lie_in_the_image(width: int, height: int, seed: int, epoch: int) -> None:
    sizes = np.array([[width, height]] * 8)
    t = train_transforms(CONFIG, seed, epoch, np.arange(8), sizes)
    x, y, w, h = t.boxes.T
    assert (x >= 0).all() and (y >= 0).all() and (w > 0).all() and (h > 0).all()
    assert (x + w <= width).all() and (y + h <= height).all()


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> float:
    """Distance in units of its 0.1 % bound: under 1 is one distribution."""
    values = np.concatenate([a, b])
    cdf = [np.searchsorted(np.sort(s), values, side="right") / len(s) for s in (a, b)]
    bound = 1.95 * np.sqrt((len(a) + len(b)) / (len(a) * len(b)))
    return float(np.abs(cdf[0] - cdf[1]).max() / bound)


def test_crops_are_distributed_as_torchvisions() -> None:
    count, width, height = 20_000, 500, 375
    ours = train_transforms(
        CONFIG, 1, 0, np.arange(count), np.array([[width, height]] * count)
    ).boxes
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array(
        [
            tv.RandomResizedCrop.get_params(image, list(CONFIG.scale), list(CONFIG.ratio))
            for _ in range(count)
        ]
    )[:, [1, 0, 3, 2]]  # top, left, height, width -> x, y, width, height
    for what in (
        lambda b: b[:, 0],
        lambda b: b[:, 1],
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 2] / b[:, 3],
    ):
        assert kolmogorov_smirnov(what(ours), what(theirs)) < 1


def test_extreme_images_take_the_central_box() -> None:
    t = train_transforms(CONFIG, 0, 0, np.arange(4), np.array([[2000, 10]] * 4))
    assert t.boxes.tolist() == [[993, 0, 13, 10]] * 4


def test_flips_and_filters_are_fair() -> None:
    t = train_transforms(CONFIG, 0, 0, np.arange(20_000), np.array([[300, 300]] * 20_000))
    for share in (t.flips.mean(), t.bicubic.mean(), (t.flips & t.bicubic).mean() * 2):
        assert abs(share - 0.5) < 3.3 * 0.5 / np.sqrt(20_000) * 2


def test_epochs_draw_anew_and_neighbours_do_not_matter() -> None:
    sizes = np.array([[400, 300]] * 64)
    ids = np.arange(64)
    one, two = (train_transforms(CONFIG, 9, epoch, ids, sizes).boxes for epoch in (0, 1))
    assert not (one == two).all(axis=1).any()
    assert np.array_equal(train_transforms(CONFIG, 9, 0, ids[7:9], sizes[7:9]).boxes, one[7:9])


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    crop=st.sampled_from([0.875, 0.9, 0.95, 1.0]),
)
def test_evaluation_sizes_are_torchvisions(width: int, height: int, crop: float) -> None:
    t = eval_transforms(EvaluateConfig(crop_pct=crop), 224, np.array([[width, height]]))
    short = int(np.floor(224 / crop))
    expected = tv.functional._compute_resized_output_size((height, width), [short])
    assert t.resized[0].tolist() == expected[::-1]
    assert t.crops[0].tolist() == [round((side - 224) / 2) for side in t.resized[0].tolist()]
