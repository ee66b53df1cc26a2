"""Counted parameters, multiply-adds and activations: by hand, and by real tensors."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from pipeline.config.schema import Config, ModelConfig
from pipeline.models.build import build_model
from pipeline.models.cost import MENDED_COUNTS, activation_bytes, model_cost, training_flops

SMALL = {"depths": [1, 2], "dims": [32, 64]}


def test_costs_by_hand() -> None:
    settings = {"num_classes": 10, "metaformer": {**SMALL, "token_mixers": ["random", "pooling"]}}
    cost = model_cost(ModelConfig.model_validate(settings), 32)
    stem, first, second, head = cost.parts.values()
    # Maps of 8 x 8 and 4 x 4.
    assert stem.trained == 32 * (3 * 49 + 1) and stem.macs == 64 * 32 * 3 * 49
    assert first.trained == 8 * 32**2 + (4 + 1 + 6) * 32
    assert first.frozen == 64**2 and first.macs == 64 * 8 * 32**2 + 64**2 * 32
    assert second.trained == 64 * (32 * 9 + 1) + 2 * (8 * 64**2 + 11 * 64)
    assert second.macs == 16 * 64 * 32 * 9 + 2 * 16 * 8 * 64**2
    assert head.trained == 2 * 64 + 65 * 10 and head.macs == 640
    assert cost.total.trained == sum(part.trained for part in cost.parts.values())
    assert cost.total.macs == sum(part.macs for part in cost.parts.values())
    assert cost.total.frozen == 64**2


def test_frozen_parameters_are_counted_apart() -> None:
    settings = {"num_classes": 10, "metaformer": SMALL}
    plain = model_cost(ModelConfig.model_validate(settings), 32)
    frozen = model_cost(ModelConfig.model_validate({**settings, "freeze": ["stem.*"]}), 32)
    assert plain.total.frozen == 0 and frozen.total.frozen == plain.parts["stem"].trained
    assert frozen.total.trained + frozen.total.frozen == plain.total.trained


def test_training_is_three_forward_passes_less_what_autograd_skips() -> None:
    settings = {"num_classes": 10, "metaformer": SMALL}
    plain = ModelConfig.model_validate(settings)
    cost = model_cost(plain, 32)
    stem, first = cost.parts["stem"].macs, cost.parts["stages.0"].macs
    # Nobody needs the gradient of the images.
    assert training_flops(plain, 32) == 6 * cost.total.macs - 2 * stem
    # A frozen stem only passes forward; frozen weights behind trained ones pass theirs on.
    without = ModelConfig.model_validate({**settings, "freeze": ["stem.*"]})
    assert training_flops(without, 32) == training_flops(plain, 32) - 2 * stem
    within = ModelConfig.model_validate({**settings, "freeze": ["stages.0.*"]})
    assert training_flops(within, 32) == training_flops(plain, 32) - 2 * first


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("groups", [1, 4, 16])
def test_a_convolutions_gradients_cost_twice_its_forward_pass(
    kind: type[nn.Conv2d | nn.ConvTranspose2d], groups: int
) -> None:
    layer = kind(16, 32, 3, stride=2, padding=1, groups=groups, device="meta")
    images = torch.empty(2, 16, 12, 12, device="meta", requires_grad=True)
    with FlopCounterMode(display=False, custom_mapping=MENDED_COUNTS) as counter:
        maps = layer(images)
        # Each of the inputs (transposed) or outputs meets its group's window.
        positions = images.numel() * 32 if layer.transposed else maps.numel() * 16
        assert counter.get_total_flops() == 2 * positions * 9 // groups
        maps.sum().backward()
    assert counter.get_total_flops() == 3 * 2 * positions * 9 // groups


def test_training_counts_a_group_as_what_it_is() -> None:
    own = {"num_classes": 10, "metaformer": {**SMALL, "token_mixers": "depthwise_conv"}}
    depthwise = ModelConfig.model_validate(own)
    cost = model_cost(depthwise, 32)
    assert training_flops(depthwise, 32) == 6 * cost.total.macs - 2 * cost.parts["stem"].macs
    grouped = ModelConfig(name="regnetx_002")
    stem = 32 * 32 * 32 * 27
    assert training_flops(grouped, 64) == 6 * model_cost(grouped, 64).total.macs - 2 * stem


def real_activation_bytes(config: Config) -> int:
    """The same count from a real forward pass: of storages by address."""
    model = build_model(config.model, 0, config.augment.img_size)
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[config.engine.dtype]
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    batch, side = config.train.micro_batch, config.augment.img_size
    images = torch.zeros(batch, side, side, 3, dtype=dtype).permute(0, 3, 1, 2)
    scales = torch.ones(batch, len(model.drop_path_rates), dtype=dtype)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(images, scales if len(model.drop_path_rates) else None)
        targets = torch.full((batch, config.model.num_classes), 0.1)
        loss = cross_entropy(logits.float(), targets, label_smoothing=config.augment.smoothing)
    total = sum(storage.nbytes() for key, storage in kept.items() if key not in weights)
    assert loss.isfinite()
    return total


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "model",
    [
        {"metaformer": {**SMALL, "token_mixers": ["pooling", "attention"], "norm": "layer_norm"}},
        {"metaformer": {**SMALL, "token_mixers": ["random", "spatial_fc"], "norm": "batch_norm"}},
        {"name": "resnet18"},
    ],
)
def test_activations_are_those_of_a_real_forward_pass(model: dict[str, object], dtype: str) -> None:
    config = Config.model_validate(
        {
            "model": {"num_classes": 10, **model},
            "engine": {"dtype": dtype},
            "train": {"micro_batch": 4, "global_batch": 4},
            "augment": {"img_size": 32},
        }
    )
    counted, real = activation_bytes(config), real_activation_bytes(config)
    assert counted == pytest.approx(real, rel=0.02)
