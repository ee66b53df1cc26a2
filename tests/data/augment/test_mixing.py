"""Mixup and cutmix: shares that belong to the pixels, switched at the right rate."""

import numpy as np
import pytest

from pipeline.config.schema import AugmentConfig
from pipeline.data.augment.mixing import Mix, draw_mix

DRAWS = 3000


def draws(**values: object) -> list[Mix | None]:
    config = AugmentConfig.model_validate({"img_size": 224, **values})
    return [draw_mix(config, 1, step, index) for step in range(DRAWS // 4) for index in range(4)]


def test_none_where_both_are_off() -> None:
    assert set(draws(mixup=0.0, cutmix=0.0)) == {None}


@pytest.mark.parametrize(
    ("mixup", "cutmix", "share"), [(0.8, 0.0, 0.0), (0.0, 1.0, 1.0), (0.8, 1.0, 0.3)]
)
def test_switch(mixup: float, cutmix: float, share: float) -> None:
    found = draws(mixup=mixup, cutmix=cutmix, mixup_switch_prob=0.3)
    cut = np.mean([mix is not None and mix.box is not None for mix in found])
    assert abs(cut - share) < 3.3 * np.sqrt(0.25 / DRAWS)


def test_the_share_is_the_area_left() -> None:
    for mix in draws(mixup=0.0, cutmix=1.0):
        assert mix is not None and mix.box is not None
        top, left, bottom, right = mix.box
        assert 0 <= top <= bottom <= 224 and 0 <= left <= right <= 224
        assert mix.lam == pytest.approx(1 - (bottom - top) * (right - left) / 224**2)


def test_micro_batches_draw_apart_and_alike_again() -> None:
    config = AugmentConfig()
    found = [draw_mix(config, 7, step, index) for step in range(30) for index in range(8)]
    assert len({mix.lam for mix in found if mix is not None and mix.box is None}) > 90
    assert found[10] == draw_mix(config, 7, 1, 2)
    assert found[10] != draw_mix(config, 8, 1, 2)
