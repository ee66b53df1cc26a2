"""State dicts between ours, timm and the original release; equal models, not only equal names."""

import pytest
import timm
import torch
from torch import Tensor, nn

from pipeline.config.schema import ModelConfig
from pipeline.errors import UserError
from pipeline.models.build import build_model
from pipeline.models.metaformer import MetaFormer
from pipeline.models.names import convert_names, timm_architecture
from tests.models.original_layout import OriginalLayout

MIXERS = {
    "pooling": ("pooling", "pooling", "pooling"),
    "attention": ("pooling", "attention", "attention"),
    "attention first": ("attention", "pooling", "attention"),
    "spatial FC": ("pooling", "pooling", "spatial_fc"),
}


def model_of(mixers: tuple[str, ...]) -> MetaFormer:
    small = {"depths": [1, 3, 2], "dims": [32, 64, 96], "token_mixers": list(mixers)}
    config = ModelConfig.model_validate({"num_classes": 10, "metaformer": small})
    model = build_model(config, 0, 64)
    assert isinstance(model, MetaFormer)
    shaken(model)
    return model


def shaken(model: nn.Module) -> nn.Module:
    """All weights random: no two tensors are equal, as zero biases would be."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.3, 0.3, generator=generator)
    return model.eval()


def images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("mixers", MIXERS.values(), ids=MIXERS)
def test_ours_and_the_original_compute_the_same_with_converted_weights(
    mixers: tuple[str, ...],
) -> None:
    ours = model_of(mixers)
    original = OriginalLayout((1, 3, 2), (32, 64, 96), mixers, side=16)
    original.load_state_dict(convert_names(ours.state_dict(), "original"))
    with torch.no_grad():
        torch.testing.assert_close(original(images()), ours(images()), atol=1e-4, rtol=1e-4)
        shaken(original)
        ours.load_state_dict(convert_names(original.state_dict(), "ours"))
        torch.testing.assert_close(original(images()), ours(images()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mixers", MIXERS.values(), ids=MIXERS)
def test_there_and_back_changes_nothing(mixers: tuple[str, ...]) -> None:
    ours = model_of(mixers).state_dict()
    original = convert_names(ours, "original")
    assert set(original).isdisjoint(ours) and len(original) == len(ours)
    assert same(convert_names(original, "ours"), ours)
    assert same(convert_names(original, "original"), original)
    assert same(convert_names(convert_names(ours, "timm"), "ours"), ours)
    assert same(convert_names(original, "timm"), ours)


def test_timm_to_ours_gives_its_features_and_its_vectors_up_to_the_heads_norm() -> None:
    theirs = shaken(timm.create_model("poolformer_s12", num_classes=10))
    ours = build_model(ModelConfig(num_classes=10), 0, 64).eval()
    ours.load_state_dict(convert_names(theirs.state_dict(), "ours"))
    for head in (ours.head, theirs.head):
        nn.init.ones_(head.norm.weight)
        nn.init.zeros_(head.norm.bias)
    with torch.no_grad():
        x = ours.stem(images())
        for stage in ours.stages:
            x = stage(x, None)
        assert torch.equal(x, theirs.forward_features(images()))
        mine = ours.head.norm(x).mean((2, 3))
        pooled = theirs.forward_head(theirs.forward_features(images()), pre_logits=True)
        # Both are the mean map, shifted and scaled by one number each: theirs centres it over C.
        mine = mine - mine.mean(1, keepdim=True)
        ratio = (mine * pooled).sum(1) / pooled.square().sum(1)
        torch.testing.assert_close(mine, ratio[:, None] * pooled, atol=1e-4, rtol=1e-3)
        assert not torch.allclose(ratio, torch.ones(2), atol=0.01)


def test_timm_takes_our_weights() -> None:
    ours = build_model(ModelConfig(), 0, 64)
    theirs = timm.create_model("poolformer_s12")
    theirs.load_state_dict(convert_names(ours.state_dict(), "timm"))
    assert same(dict(theirs.state_dict()), dict(ours.state_dict()))


def test_batch_norm_keeps_its_statistics_names() -> None:
    config = ModelConfig.model_validate({"metaformer": {"norm": "batch_norm"}})
    state = build_model(config, 0, 64).state_dict()
    original = convert_names(state, "original")
    assert "network.0.0.norm1.running_mean" in original and "norm.running_var" in original
    assert same(convert_names(original, "ours"), state)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["layer1.0.conv1.weight", "fc.weight"], "2 of 2 names.*layer1.0.conv1.weight, fc.weight"),
        (["patch_embed.proj.weight", "network.0.0.scale"], "1 of 2 names.*network.0.0.scale"),
        (["stem.conv.weight", "stages.0.blocks.0.res_scale1.scale"], "res_scale1"),
    ],
)
def test_unknown_names_are_named(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        convert_names({name: torch.zeros(1) for name in names}, "ours")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "poolformer_s12"),
        ({"metaformer": {"depths": [8, 8, 24, 8], "dims": [96, 192, 384, 768]}}, "poolformer_m48"),
        ({"metaformer": {"token_mixers": ["pooling"] * 4, "pool_size": [3] * 4}}, "poolformer_s12"),
        ({"metaformer": {"pool_size": 5}}, None),
        ({"metaformer": {"token_mixers": "identity"}}, None),
        ({"metaformer": {"norm": "layer_norm"}}, None),
        ({"metaformer": {"act": "relu"}}, None),
        ({"metaformer": {"residual": False}}, None),
        ({"metaformer": {"mlp": False}}, None),
        ({"metaformer": {"depths": [2, 2, 2, 2]}}, None),
        ({"name": "resnet50"}, "resnet50"),
        ({"name": "randformer_s12"}, None),
    ],
)
def test_timm_architecture(settings: dict[str, object], expected: str | None) -> None:
    assert timm_architecture(ModelConfig.model_validate(settings)) == expected
