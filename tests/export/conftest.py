"""The export command in this process, and small models that timm knows."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.config import load
from pipeline.export.__main__ import main
from pipeline.models.build import build_model, weights_of

Export = Callable[..., str]
Model = Callable[..., tuple[Path, Path]]


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Export:
    """Run the command; returns its stdout."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
        assert main() == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def model_of(tmp_path: Path, digit_shards: Path) -> Model:
    """Settings and a file of weights of a model that timm has: ``(config, weights)``."""

    def build(name: str, side: int, **architecture: object) -> tuple[Path, Path]:
        config, weights = tmp_path / f"{name}.yaml", tmp_path / f"{name}.safetensors"
        own = f"  metaformer: {architecture}\n" if architecture else ""
        config.write_text(
            f"device: cpu\ndata: {{root: {digit_shards}}}\naugment: {{img_size: {side}}}\n"
            f"model:\n  name: {name}\n  num_classes: 10\n{own}"
            "engine: {dtype: fp32}\nevaluate: {crop_pct: 0.95}\n"
        )
        settings = load(config).config
        net = weights_of(build_model(settings.model, 3, side))
        # As if trained: no norm and no bias that is still the identity.
        generator = torch.Generator().manual_seed(1)
        state = {
            key: value + 0.1 * torch.rand(value.shape, generator=generator)
            if value.is_floating_point()
            else value
            for key, value in net.state_dict().items()
        }
        save_file(state, weights)
        return config, weights

    return build
