"""Config to model: what is refused, what is frozen, and timm's models at other sizes."""

import re

import pytest
import torch
from pydantic import ValidationError

from pipeline.config.schema import ModelConfig
from pipeline.errors import UserError
from pipeline.models.build import build_model
from pipeline.models.memory import check_memory, mixer_memory

SMALL = {"depths": [1, 1], "dims": [32, 64]}


def config(**settings: object) -> ModelConfig:
    return ModelConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token_mixers": "poling"}, r"^is none of pooling, .*; did you mean pooling\?"),
        (
            {"token_mixers": ["pooling", "atention"]},
            r"^'atention' is none of .*mean attention\?",
        ),
        ({"norm": "group_nrm"}, r"is none of .*did you mean group_norm\?"),
        ({"act": "gelo"}, r"did you mean gelu\?"),
        ({"act": 3}, r"^is none of gelu, relu, silu$"),
        ({"token_mixers": ["pooling", "identity", "identity"]}, "has 3 entries for 2 stages"),
        ({"norm": ["none"]}, "norm has 1 entries for 2 stages"),
        ({"pool_size": [3, 3, 3]}, "pool_size has 3 entries for 2 stages"),
        ({"dims": [32]}, "depths has 2 stages, dims has 1"),
        ({"pool_size": 4}, "pool_size=4 must be odd; use 5"),
        ({"pool_size": [3, 6]}, "pool_size=6 must be odd; use 7"),
        ({"token_mixers": "attention", "dims": [32, 80]}, "dims=80 .* 32 channels; use 96"),
    ],
)
def test_bad_settings_name_the_rule(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(metaformer={**SMALL, **settings})
    (error,) = caught.value.errors()
    assert re.search(message, error["msg"])


def test_new_head_needs_weights() -> None:
    with pytest.raises(ValidationError, match="new_head=true needs init_from"):
        config(new_head=True)


def test_freeze_keeps_what_matches_and_no_more() -> None:
    model = build_model(config(metaformer=SMALL, freeze=["stem.*", "*.norm1.weight"]), 0, 32)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        "stem.conv.weight",
        "stem.conv.bias",
        "stages.0.blocks.0.norm1.weight",
        "stages.1.blocks.0.norm1.weight",
    }
    before = model.stem.conv.weight.clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(torch.ones(2, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    assert model.stem.conv.weight.grad is None and torch.equal(model.stem.conv.weight, before)


def test_freeze_of_timms_models_takes_their_names() -> None:
    model = build_model(config(name="resnet18", freeze=["layer1.*"]), 0, 32)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen and all(name.startswith("net.layer1.") for name in frozen)


def test_freeze_that_means_nothing_or_everything() -> None:
    with pytest.raises(UserError, match=r"stm\.\* matches no parameter; did you mean stem\.\*"):
        build_model(config(metaformer=SMALL, freeze=["stm.*"]), 0, 32)
    with pytest.raises(UserError, match=r"freeze=\['\*'\] leaves no parameter to train"):
        build_model(config(metaformer=SMALL, freeze=["*"]), 0, 32)


def test_memory_that_is_not_there_is_said_before_it_is_taken() -> None:
    # 512 positions a side: 4 matrices of 275 GB in stage 1, and 4 of 17 GB in stage 2.
    huge = config(metaformer={**SMALL, "depths": [4, 4], "token_mixers": "random"})
    with pytest.raises(UserError, match=r"img_size=2048: .*stage 1 1099\.5 GB \(4 random.*pooling"):
        build_model(huge, 0, 2048)


@pytest.mark.parametrize(
    ("mixer", "expected"),
    [
        # 16 x 16 positions in stage 1: 65,536 pairs; 4,096 in stage 2.
        ("random", [65_536 * (2 * 4 + 2), 4_096 * (1 * 4 + 2)]),
        ("spatial_fc", [65_536 * 2 * 16, 4_096 * 16]),
        # Two blocks of 256 positions and 32 channels, one of 64 and 64; eight images, four tensors.
        ("attention", [256 * 32 * 8 * 4 * 2 * 2, 64 * 64 * 8 * 4 * 2]),
        ("pooling", []),
    ],
)
def test_mixer_memory(mixer: str, expected: list[int]) -> None:
    settings = config(metaformer={"depths": [2, 1], "dims": [32, 64], "token_mixers": mixer})
    needs = mixer_memory(settings, 64, 8, "bf16")
    assert [need.num_bytes for need in needs] == expected
    check_memory(settings, 64, 8, "bf16", sum(expected))
    if expected:
        with pytest.raises(UserError, match="img_size=64") as caught:
            check_memory(settings, 64, 8, "bf16", sum(expected) - 1)
        message = str(caught.value)
        assert ("micro_batch=8" in message) == (mixer == "attention")


def test_timms_models_have_no_mixers_of_ours() -> None:
    assert mixer_memory(config(name="vit_base_patch16_224"), 224, 8, "bf16") == []


def test_models_with_learned_positions_are_built_for_the_image_size() -> None:
    with torch.device("meta"):
        vit = build_model(config(name="vit_tiny_patch16_224"), 0, 96)
        assert vit(torch.empty(1, 3, 96, 96)).shape == (1, 1000)


def test_follow_up_models_run_and_train() -> None:
    model = build_model(config(name="randformer_s12", num_classes=10, drop_path=0.2), 0, 64)
    matrices = [b for name, b in model.named_buffers() if name.endswith("random_matrix")]
    assert [tuple(m.shape) for m in matrices] == [(16, 16)] * 6 + [(4, 4)] * 2
    assert len({float(m[0, 0]) for m in matrices}) == 8
    model(torch.ones(2, 3, 64, 64)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_unknown_follow_up_model_names_near_ones() -> None:
    with pytest.raises(UserError, match=r"randformer_s11.*near ones: randformer_s12"):
        build_model(config(name="randformer_s11"), 0, 64)
