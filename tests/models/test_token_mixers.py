"""Each token mixer beside a plain float64 reference, its gradients, and other image sizes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.config.schema import MetaFormerConfig, ModelConfig
from pipeline.errors import UserError
from pipeline.models.build import build_model
from pipeline.models.metaformer import MetaFormer
from pipeline.models.stages import StagePlan, plan_stages
from pipeline.models.token_mixers import RandomMixing, token_mixer

SIDE, DIM = 5, 64
KINDS = ("pooling", "identity", "random", "depthwise_conv", "attention", "spatial_fc")


def mixer_of(kind: str, pool_size: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(0)
    plan = StagePlan(1, DIM, SIDE, kind, pool_size, "group_norm", False, False)
    return token_mixer(plan, torch.Generator().manual_seed(seed))


def reference(kind: str, mixer: Any, pool_size: int) -> Callable[[Tensor], Tensor]:
    """The mixer as the paper describes it, position by position, on (B, C, H, W) float64."""

    def mean_minus_self(x: Tensor) -> Tensor:
        out, reach = torch.zeros_like(x), pool_size // 2
        for i in range(SIDE):
            for j in range(SIDE):
                rows = slice(max(0, i - reach), i + reach + 1)
                columns = slice(max(0, j - reach), j + reach + 1)
                out[:, :, i, j] = x[:, :, rows, columns].mean((2, 3)) - x[:, :, i, j]
        return out

    def over_positions(matrix: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.einsum("mn,bcn->bcm", matrix.double(), x.flatten(2)).view_as(x)

    def convolved(x: Tensor) -> Tensor:
        out = torch.zeros_like(x) + mixer.conv.bias.double()[:, None, None]
        padded = nn.functional.pad(x, (1, 1, 1, 1))
        for i in range(3):
            for j in range(3):
                window = padded[:, :, i : i + SIDE, j : j + SIDE]
                out = out + mixer.conv.weight.double()[:, 0, i, j, None, None] * window
        return out

    def attended(x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT @ mixer.qkv.weight.double().T
        query, key, value = tokens.split(DIM, dim=2)
        heads = []
        for start in range(0, DIM, 32):
            part = slice(start, start + 32)
            weights = (query[..., part] @ key[..., part].mT / 32**0.5).softmax(-1)
            heads.append(weights @ value[..., part])
        out = torch.cat(heads, 2) @ mixer.proj.weight.double().T + mixer.proj.bias.double()
        return out.mT.reshape(x.shape)

    return {
        "pooling": lambda: mean_minus_self,
        "identity": lambda: lambda x: x,
        "random": lambda: over_positions(mixer.random_matrix),
        "depthwise_conv": lambda: convolved,
        "attention": lambda: attended,
        "spatial_fc": lambda: over_positions(mixer.fc.weight),
    }[kind]()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", KINDS)
def test_mixer_is_the_papers(kind: str, memory: torch.memory_format) -> None:
    for pool_size in (3, 5, 7, 9) if kind == "pooling" else (3,):
        mixer = mixer_of(kind, pool_size)
        x = torch.randn(2, DIM, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        x = x.to(memory_format=memory).requires_grad_()
        expected_in = x.detach().double().requires_grad_()
        out, expected = mixer(x), reference(kind, mixer, pool_size)(expected_in)
        assert out.shape == x.shape
        torch.testing.assert_close(out.double(), expected, atol=2e-6, rtol=1e-5)
        weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
        (out * weight).sum().backward()
        (expected * weight.double()).sum().backward()
        torch.testing.assert_close(x.grad.double(), expected_in.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_mixer_works_in_bf16(kind: str) -> None:
    mixer = mixer_of(kind)
    x = torch.randn(2, DIM, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    expected = mixer(x)
    for parameter in mixer.parameters():
        parameter.data = parameter.data.bfloat16()
    out = mixer(x.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, atol=0.05, rtol=0.05)


def test_random_matrix_is_a_frozen_fp32_mean_drawn_from_the_seed() -> None:
    mixer = mixer_of("random", seed=3)
    assert list(mixer.parameters()) == [] and mixer.random_matrix.dtype == torch.float32
    torch.testing.assert_close(mixer.random_matrix.sum(1), torch.ones(SIDE * SIDE))
    # The softmax of draws from [0, 1): no weight is more than e times another of its row.
    ratio = mixer.random_matrix.amax(1) / mixer.random_matrix.amin(1)
    assert ratio.max() < torch.e and ratio.min() > 2
    assert torch.equal(mixer.random_matrix, mixer_of("random", seed=3).random_matrix)
    assert not torch.equal(mixer.random_matrix, mixer_of("random", seed=4).random_matrix)


def model_of(img_size: int = 64, seed: int = 5, **settings: object) -> MetaFormer:
    small = {"depths": [2, 2], "dims": [32, 64], **settings}
    config = ModelConfig.model_validate({"num_classes": 10, "metaformer": small})
    model = build_model(config, seed, img_size)
    assert isinstance(model, MetaFormer)
    return model


def test_each_block_has_its_own_random_matrix_and_other_weights_do_not_change() -> None:
    model, again = model_of(token_mixers="random"), model_of(token_mixers="random")
    matrices = [m.random_matrix for m in model.modules() if isinstance(m, RandomMixing)]
    assert [tuple(m.shape) for m in matrices] == [(256, 256)] * 2 + [(64, 64)] * 2
    assert not torch.equal(matrices[0], matrices[1]) and not torch.equal(matrices[2], matrices[3])
    for (name, ours), theirs in zip(
        model.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    pooling = dict(model_of().named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, pooling[name]), name


@pytest.mark.parametrize("kind", ["random", "spatial_fc", "attention"])
def test_another_image_size_is_refused(kind: str) -> None:
    model = model_of(token_mixers=["pooling", kind], norm="layer_norm")
    model(torch.zeros(1, 3, 64, 64))
    with pytest.raises(UserError, match=rf"{kind} was built for maps of 8 × 8.*4 × 4.*img_size"):
        model(torch.zeros(1, 3, 32, 32))


def test_positions_are_learned_before_the_first_attention_alone() -> None:
    config = MetaFormerConfig(token_mixers=("pooling", "pooling", "attention", "attention"))
    assert [s.has_pos_embed for s in plan_stages(config, 224)] == [False, False, True, False]
    assert [stage.side for stage in plan_stages(config, 224)] == [56, 28, 14, 7]
    one = MetaFormerConfig(token_mixers=("pooling", "pooling", "pooling", "attention"))
    assert [s.has_pos_embed for s in plan_stages(one, 224)] == [False, False, False, True]
    model = model_of(token_mixers=["pooling", "attention"])
    embeds = {n: p for n, p in model.named_parameters() if n.endswith("pos_embed")}
    assert {n: tuple(p.shape) for n, p in embeds.items()} == {"stages.1.pos_embed": (1, 64, 8, 8)}
    assert not embeds["stages.1.pos_embed"].any()


@pytest.mark.parametrize("img_size", [8, 33, 48, 64, 97, 224])
def test_sides_are_those_of_the_convolutions(img_size: int) -> None:
    model = model_of(img_size)
    x = model.stem(torch.zeros(1, 3, img_size, img_size))
    for plan, stage in zip(
        plan_stages(MetaFormerConfig(depths=(2, 2), dims=(32, 64)), img_size),
        model.stages,
        strict=True,
    ):
        x = stage(x, None)
        assert x.shape[2:] == (plan.side, plan.side)
