"""What the device does with the pixels: mixing, normalising, erasing, in this order."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.schema import AugmentConfig
from pipeline.data.augment.erasing import Erasures, draw_erasures
from pipeline.data.augment.mixing import Mix
from pipeline.data.mix import HostErasures, Normaliser, mixed_targets

CPU = torch.device("cpu")
CONFIG = AugmentConfig(img_size=16)
PIXELS = torch.from_numpy(
    np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
)


def plain(pixels: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (CONFIG.mean, CONFIG.std))
    return (pixels.permute(0, 3, 1, 2).double() / 255 - mean) / std


def test_normalised_and_channels_last() -> None:
    images = Normaliser(CONFIG, CPU, torch.float32)(PIXELS)
    assert images.shape == (6, 3, 16, 16)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(images.double(), plain(PIXELS), atol=1e-5)
    assert Normaliser(CONFIG, CPU, torch.bfloat16)(PIXELS).dtype == torch.bfloat16


def test_mixup_blends_with_the_mirror() -> None:
    images = Normaliser(CONFIG, CPU, torch.float32)(PIXELS, Mix(0.3, None))
    expected = 0.3 * plain(PIXELS) + 0.7 * plain(PIXELS.flip(0))
    assert torch.allclose(images.double(), expected, atol=1e-5)


def test_cutmix_pastes_the_box() -> None:
    before = PIXELS.clone()
    images = Normaliser(CONFIG, CPU, torch.float32)(PIXELS, Mix(0.9, (2, 3, 7, 11)))
    expected = plain(PIXELS)
    expected[:, :, 2:7, 3:11] = plain(PIXELS.flip(0))[:, :, 2:7, 3:11]
    assert torch.allclose(images.double(), expected, atol=1e-5)
    assert torch.equal(PIXELS, before)


@given(lam=st.floats(0, 1), classes=st.integers(2, 9))
def test_targets_are_shares(lam: float, classes: int) -> None:
    labels = torch.tensor([0, 1, 1, 0])
    targets = mixed_targets(labels, Mix(lam, None), classes)
    assert targets.shape == (4, classes) and torch.allclose(targets.sum(1), torch.ones(4))
    assert targets[0, 0].item() == pytest.approx(1.0)
    assert targets[1, 1].item() == pytest.approx(1.0)
    mixed = mixed_targets(torch.tensor([0, 1]), Mix(lam, None), classes)
    assert mixed[0, 0].item() == pytest.approx(lam) == mixed[1, 1].item()


@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
def test_erasing_overwrites_after_all_else(mode: str) -> None:
    config = AugmentConfig.model_validate(
        {"img_size": 16, "reprob": 1.0, "remode": mode, "recount": 2}
    )
    drawn = draw_erasures(config, 3, 0, np.arange(6))
    normalise, mix = Normaliser(config, CPU, torch.float32), Mix(0.4, None)
    images = normalise(PIXELS, mix, HostErasures.ready(drawn, CPU))
    expected = normalise(PIXELS, mix)
    start = 0
    for row, top, left, height, width in drawn.boxes.tolist():
        shape = (3, height, width) if mode == "pixel" else (3, 1, 1)
        values = torch.from_numpy(drawn.values[start : start + int(np.prod(shape))])
        expected[row, :, top : top + height, left : left + width] = values.view(shape)
        start += int(np.prod(shape))
    assert torch.equal(images, expected)
    assert start == len(drawn.values) > 0


def test_nothing_erased() -> None:
    nothing = Erasures(np.zeros((0, 5), np.int64), np.zeros(0, np.float32), True)
    normalise = Normaliser(CONFIG, CPU, torch.float32)
    erased = normalise(PIXELS, None, HostErasures.ready(nothing, CPU))
    assert torch.equal(erased, normalise(PIXELS))
