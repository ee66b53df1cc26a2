"""Norms, activations, and what is switched off, beside plain references; checkpointing."""

import re

import pytest
import torch
from torch import Tensor

from pipeline.config.schema import ModelConfig
from pipeline.models.batch_norm import PerStepBatchNorm2d
from pipeline.models.build import TimmModel, build_model
from pipeline.models.metaformer import MetaFormer
from pipeline.models.norms import norm

AXES = {"group_norm": (1, 2, 3), "layer_norm": (1,), "batch_norm": (0, 2, 3)}


def model_of(**settings: object) -> MetaFormer:
    small = {"depths": [1, 2], "dims": [32, 64], "layer_scale_init": 0.5, **settings}
    model = build_model(ModelConfig.model_validate({"metaformer": small}), 0, 32)
    assert isinstance(model, MetaFormer)
    return model


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", AXES)
def test_norm_is_over_the_right_axes(kind: str) -> None:
    layer = norm(kind, 8)
    with torch.no_grad():
        layer.weight.uniform_(generator=torch.Generator().manual_seed(1))
        layer.bias.uniform_(generator=torch.Generator().manual_seed(2))
    x = 3 + 0.01 * torch.randn(4, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    wide = x.double()
    mean = wide.mean(AXES[kind], keepdim=True)
    variance = (wide - mean).square().mean(AXES[kind], keepdim=True)
    # The variance is 1e-4, so that a wrong epsilon shows.
    expected = (wide - mean) / (variance + 1e-5).sqrt()
    expected = expected * layer.weight[:, None, None] + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x).double(), expected.double(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [*AXES, "none"])
def test_norm_is_everywhere_and_in_the_head(kind: str) -> None:
    model = model_of(norm=kind)
    last = re.compile(r"(^|\.)(norm1|norm2|head\.norm)$")
    norms = [m for n, m in model.named_modules() if last.search(n)]
    assert len(norms) == 2 * 3 + 1
    assert len({type(m) for m in norms}) == 1
    assert ("head.norm.weight" in model.state_dict()) == (kind != "none")
    assert model(images()).shape == (4, 1000)
    if kind == "batch_norm":
        assert all(type(m) is PerStepBatchNorm2d for m in norms)


def test_norm_may_differ_by_stage_and_the_head_takes_the_last() -> None:
    model = model_of(norm=["group_norm", "batch_norm"])
    kinds = [type(s.blocks[0].norm1).__name__ for s in model.stages]
    assert kinds == ["GroupNorm1", "PerStepBatchNorm2d"]
    assert type(model.head.norm) is PerStepBatchNorm2d


def test_pool_size_may_differ_by_stage() -> None:
    sizes = [s.blocks[0].token_mixer.pool.kernel_size for s in model_of(pool_size=[3, 5]).stages]
    assert sizes == [3, 5]


def stage_by_hand(model: MetaFormer, x: Tensor, act: str, residual: bool, mlp: bool) -> Tensor:
    """The first stage's block, spelled out from its weights."""
    block = model.stages[0].blocks[0]
    scale = [s.scale[:, None, None] for s in (block.layer_scale1, block.layer_scale2)]
    mixed = block.norm1(x)
    pooled = torch.nn.functional.avg_pool2d(mixed, 3, 1, 1, count_include_pad=False) - mixed
    y = residual * x + scale[0] * pooled
    z = block.norm2(y)
    if mlp:
        hidden = torch.einsum("oi,bihw->bohw", block.mlp.fc1.weight[:, :, 0, 0], z)
        hidden = hidden + block.mlp.fc1.bias[:, None, None]
        hidden = {
            "gelu": lambda h: 0.5 * h * (1 + torch.erf(h / 2**0.5)),
            "relu": lambda h: h.clamp(min=0),
            "silu": lambda h: h / (1 + torch.exp(-h)),
        }[act](hidden)
        z = torch.einsum("oi,bihw->bohw", block.mlp.fc2.weight[:, :, 0, 0], hidden)
        z = z + block.mlp.fc2.bias[:, None, None]
    return residual * y + scale[1] * z


@pytest.mark.parametrize(
    ("act", "residual", "mlp"),
    [
        ("gelu", True, True),
        ("relu", True, True),
        ("silu", True, True),
        ("gelu", False, True),
        ("gelu", True, False),
        ("gelu", False, False),
    ],
)
def test_block_is_the_papers(act: str, residual: bool, mlp: bool) -> None:
    model = model_of(act=act, residual=residual, mlp=mlp)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(
                -0.5, 0.5, generator=torch.Generator().manual_seed(parameter.numel())
            )
        x = torch.randn(2, 32, 8, 8, generator=torch.Generator().manual_seed(0))
        out = model.stages[0](x, None)
        torch.testing.assert_close(
            out, stage_by_hand(model, x, act, residual, mlp), atol=1e-4, rtol=1e-4
        )


def test_init_of_mixers_is_the_originals() -> None:
    model = model_of(token_mixers=["depthwise_conv", "attention"])
    conv = model.stages[0].blocks[0].token_mixer.conv
    # PyTorch's default: uniform within 1 / sqrt(fan_in), the bias too.
    assert conv.weight.abs().max() <= 1 / 3 and conv.weight.std() > 0.15 and conv.bias.any()
    attention = model.stages[1].blocks[0].token_mixer
    assert attention.qkv.bias is None and not attention.proj.bias.any()
    for weight in (attention.qkv.weight, attention.proj.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    fc = model_of(token_mixers=["pooling", "spatial_fc"]).stages[1].blocks[0].token_mixer.fc
    assert fc.bias is None and fc.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    "settings", [{}, {"token_mixers": ["random", "attention"], "norm": "layer_norm"}]
)
def test_checkpointing_changes_memory_and_nothing_else(settings: dict[str, object]) -> None:
    gradients, kept = [], []
    scales = torch.full((4, 6), 1.25)
    scales[0, 2] = 0
    for enable in (False, True):
        model = model_of(**settings)
        model.set_grad_checkpointing(enable)
        count = 0

        def keep(tensor: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model(images(), scales).square().mean()
        kept.append(count)
        loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    assert kept[1] < kept[0] / 2
    for plain, again in zip(*gradients, strict=True):
        assert torch.equal(plain, again)


def test_timms_models_checkpoint_too() -> None:
    model = build_model(ModelConfig(name="poolformer_s12", num_classes=10), 0, 32)
    assert isinstance(model, TimmModel)
    model.set_grad_checkpointing()
    assert model.net.grad_checkpointing
    model.set_grad_checkpointing(False)
    assert not model.net.grad_checkpointing


def test_channels_last_gives_the_same_logits() -> None:
    model = model_of(token_mixers=["random", "attention"], norm="layer_norm").eval()
    with torch.no_grad():
        plain = model(images())
        last = model(images().to(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, atol=1e-5, rtol=1e-5)
