"""The paper's model: counts to the unit, timm's features for timm's weights, and its init."""

from pathlib import Path

import pytest
import timm
import torch

from pipeline.config import load
from pipeline.config.schema import ModelConfig
from pipeline.errors import UserError
from pipeline.models.build import build_model

ROOT = Path(__file__).resolve().parents[2]
# Table 1, computed to the unit.
PARAMETERS = {
    "s12": 11_915_176,
    "s24": 21_388_968,
    "s36": 30_862_760,
    "m36": 56_172_520,
    "m48": 73_473_448,
}


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters_are_the_papers(size: str) -> None:
    config = load(ROOT / "configs" / f"{size}.yaml").config
    with torch.device("meta"):
        model = build_model(config.model, 0, 224)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[size]


def test_features_are_timms_for_timms_weights() -> None:
    theirs = timm.create_model("poolformer_s12", num_classes=10).eval()
    ours = build_model(ModelConfig(num_classes=10), 0, 64)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.forward_features(images)
        x = ours.stem(images)
        for stage in ours.stages:
            x = stage(x, None)
        # timm pools first, the paper normalises first: the vectors before the last layer are
        # not equal, the maps before the head are.
        assert torch.equal(x, expected)


def test_identity_mixer_differs_from_pooling_in_nothing_but_the_mixer() -> None:
    pool = build_model(ModelConfig(), 3, 64)
    none = build_model(
        ModelConfig.model_validate({"metaformer": {"token_mixers": "identity"}}), 3, 64
    )
    for (name, a), (other, b) in zip(pool.named_parameters(), none.named_parameters(), strict=True):
        assert name == other and torch.equal(a, b)


def test_init_is_the_papers() -> None:
    model = build_model(ModelConfig(), 0, 64)
    mlp = model.stages[0].blocks[0].mlp.fc1
    assert mlp.weight.std().item() == pytest.approx(0.02, rel=0.05) and not mlp.bias.any()
    # The stem keeps PyTorch's default: uniform within 1 / sqrt(fan_in), its bias too.
    bound = (3 * 7 * 7) ** -0.5
    assert model.stem.conv.weight.abs().max() <= bound and model.stem.conv.bias.any()
    assert model.stem.conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_drop_path_scales_act_per_image_and_branch() -> None:
    model = build_model(ModelConfig(), 0, 64).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ones = torch.ones(2, len(model.drop_path_rates))
    with torch.no_grad():
        plain = model(images)
        assert torch.allclose(model(images, ones), plain, atol=1e-6)
        dropped = ones.clone()
        dropped[1, 5] = 0
        out = model(images, dropped)
    assert torch.allclose(out[0], plain[0], atol=1e-6) and not torch.allclose(out[1], plain[1])


def test_rates_grow_linearly_to_the_peak() -> None:
    rates = build_model(ModelConfig(drop_path=0.4), 0, 64).drop_path_rates
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.4) and len(rates) == 24


def test_seed_decides_the_weights() -> None:
    one, again, other = (build_model(ModelConfig(), seed, 64).head.fc.weight for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_unknown_timm_model_names_near_ones() -> None:
    with pytest.raises(UserError, match=r"model\.name=poolformer_s13.*poolformer_s12"):
        build_model(ModelConfig(name="poolformer_s13"), 0, 64)
