"""Grad-CAM points at what decides, in models where that is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.schema import ModelConfig
from pipeline.errors import UserError
from pipeline.models.build import build_model
from pipeline.models.metaformer import MetaFormer
from pipeline.predict.cam import grad_cam
from pipeline.predict.picture import picture_paths

SIDE = 128


@pytest.fixture(scope="module")
def bright() -> MetaFormer:
    """Class 1 is for light, class 0 against it; no mixer and no norm carries it elsewhere."""
    own = {"depths": [1, 1], "dims": [4, 4], "token_mixers": "identity", "norm": "none"}
    settings = ModelConfig.model_validate({"num_classes": 2, "metaformer": own})
    model = build_model(settings, 0, SIDE).eval().requires_grad_(False)
    assert isinstance(model, MetaFormer)
    for name, parameter in model.named_parameters():
        parameter.zero_() if name.endswith("bias") else parameter.abs_()
    model.head.fc.weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 4))
    return model


@pytest.mark.parametrize("quadrant", range(4))
def test_the_map_lies_where_the_light_is(bright: MetaFormer, quadrant: int) -> None:
    half, (row, column) = SIDE // 2, divmod(quadrant, 2)
    rows, columns = (slice(half * i, half * (i + 1)) for i in (row, column))
    images = torch.zeros(2, 3, SIDE, SIDE)
    images[0, :, rows, columns] = 1
    cams = grad_cam(bright, images, torch.tensor([1, 1]))
    assert cams.shape == (2, SIDE, SIDE) and cams[0].max() == 1
    assert cams[0, rows, columns].sum() / cams[0].sum() > 0.85
    # A dark image speaks for nothing; and light speaks against class 0.
    assert not cams[1].any()
    assert not grad_cam(bright, images, torch.tensor([0, 0])).any()


@pytest.mark.parametrize(
    ("name", "side"), [("test_resnet", 64), ("test_vit", 96), ("poolformerv2_s12", 64)]
)
def test_timms_models_have_maps(name: str, side: int) -> None:
    model = build_model(ModelConfig(name=name, num_classes=4), 0, side).eval()
    model.requires_grad_(False)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    cams = grad_cam(model, images, torch.tensor([0, 3]))
    assert cams.shape == (2, side, side)
    assert cams.min() >= 0 and cams.amax(dim=(1, 2)).tolist() == pytest.approx([1, 1])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_without_maps_is_named() -> None:
    model = build_model(ModelConfig(name="test_resnet", num_classes=4), 0, 64).eval()
    model.net.feature_info = []  # type: ignore[assignment]
    with pytest.raises(UserError, match="timm does not say where ResNet has its maps"):
        grad_cam(model, torch.zeros(1, 3, 64, 64), torch.tensor([0]))


def test_command_writes_the_crop_and_the_map(
    command: Callable, trained_run: Path, digit_shards: Path, tmp_path: Path
) -> None:
    digits = digit_shards.parent / "digits/val"
    three, four = (next(iter(sorted((digits / name).iterdir()))) for name in "34")
    words = ("digits", three, "--runs-root", trained_run.parent)
    done = command("-m", "pipeline.predict", *words, "--cam", tmp_path / "cam.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(three) and len(done.stdout.splitlines()) == 6
    with Image.open(tmp_path / "cam.png") as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape == (224, 448, 3)
    crop, overlay = pixels[:, :224], pixels[:, 224:]
    # The digit is gray, the map is coloured.
    assert np.ptp(crop, axis=2).max() <= 8 < np.ptp(overlay, axis=2).min()

    names = [path.name for path in picture_paths(tmp_path / "cams", [three, four])]
    assert names == [f"1_{three.stem}.png", f"2_{four.stem}.png"]
