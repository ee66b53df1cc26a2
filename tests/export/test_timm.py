"""timm loads what is exported, by folder and by file, and computes the same."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from pipeline.config import load
from pipeline.models.build import build_model, weights_of

Export = Callable[..., str]
Model = Callable[..., tuple[Path, Path]]


def ours(config: Path, weights: Path) -> torch.nn.Module:
    settings = load(config).config
    model = build_model(settings.model, 0, settings.augment.img_size).eval()
    weights_of(model).load_state_dict(load_file(weights))
    return model


@pytest.mark.parametrize(("name", "side"), [("test_resnet", 64), ("test_vit", 96)])
def test_timms_models_give_the_same_logits(
    export: Export, model_of: Model, tmp_path: Path, name: str, side: int
) -> None:
    config, weights = model_of(name, side)
    out = tmp_path / "out"
    export(weights, "--config", config, "--out", out)
    size = {"img_size": side} if name == "test_vit" else {}
    by_folder = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    by_file = timm.create_model(
        name, checkpoint_path=out / "model.safetensors", num_classes=10, **size
    ).eval()
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = ours(config, weights)(images)
        assert expected.std() > 0
        assert torch.equal(by_folder(images), expected)
        assert torch.equal(by_file(images), expected)
    data = timm.data.resolve_model_data_config(by_folder)
    assert data["input_size"] == (3, side, side)
    assert (data["crop_pct"], data["interpolation"]) == (0.95, "bicubic")
    assert by_folder.pretrained_cfg["label_names"] == [str(digit) for digit in range(10)]


def test_our_poolformer_has_timms_features_and_the_card_says_what_differs(
    export: Export, model_of: Model, tmp_path: Path
) -> None:
    config, weights = model_of("metaformer", 64)
    out = tmp_path / "out"
    export(weights, "--config", config, "--out", out)
    theirs = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    assert json.loads((out / "config.json").read_text())["architecture"] == "poolformer_s12"
    model = ours(config, weights)
    maps: list[torch.Tensor] = []
    model.stages[-1].register_forward_hook(lambda _m, _i, output: maps.append(output))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, features = model(images), theirs.forward_features(images)
        assert torch.equal(maps[0], features)
        # The heads differ, and the card must not hide it.
        assert not torch.allclose(logits, theirs(images), rtol=1e-3)
    card = (out / "README.md").read_text()
    assert "timm's poolformer_s12 takes the mean first" in " ".join(card.split())
    assert 'timm.create_model("poolformer_s12", num_classes=10,' in card
