"""A MetaFormer by the kernels in Triton's interpreter, beside itself by PyTorch."""

import copy
import random
from typing import Any

import pytest

pytest.importorskip("triton")

import torch
import triton
from torch import Tensor, nn

from pipeline.config.schema import ModelConfig
from pipeline.models.build import build_model
from pipeline.models.metaformer import MetaFormer
from tests.models.kernels.nearest_even import nearest_even

pytestmark = pytest.mark.skipif(
    not triton.knobs.runtime.interpret, reason="tests/gpu trains with the kernels on a GPU"
)
SIDE = 24
SMALL: dict[str, Any] = {"depths": [2, 1], "dims": [3, 8], "layer_scale_init": 0.5}


def model_of(freeze: tuple[str, ...] = (), **metaformer: Any) -> MetaFormer:
    settings = {"num_classes": 4, "freeze": freeze, "metaformer": SMALL | metaformer}
    model = build_model(ModelConfig.model_validate(settings), 0, SIDE)
    assert isinstance(model, MetaFormer)
    return model


def by_triton(model: MetaFormer) -> MetaFormer:
    twin = copy.deepcopy(model)
    twin.use_kernels("triton")
    return twin


@pytest.fixture
def seed() -> int:
    return random.randrange(2**31)


def batch(seed: int, images: int = 2) -> tuple[Tensor, Tensor]:
    """Images, and drop path's scales of three blocks; one branch is dropped."""
    draw = torch.Generator().manual_seed(seed)
    scales = torch.full((images, 6), 1.25)
    scales[0, 3] = 0
    return torch.randn(images, 3, SIDE, SIDE, generator=draw), scales


def gradients(model: nn.Module, images: Tensor, scales: Tensor) -> dict[str, Tensor | None]:
    model.zero_grad()
    model(images, scales).float().square().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def losses(model: nn.Module, images: Tensor, scales: Tensor, steps: int) -> Tensor:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images, scales), torch.tensor([0, 1]))
        loss.backward()
        optimizer.step()
        found.append(loss.detach())
    return torch.stack(found)


def test_a_training_goes_as_by_pytorch(seed: int) -> None:
    model = model_of()
    twin = by_triton(model)
    given = batch(seed)
    expected = losses(model, *given, 3)
    assert expected[-1] < 0.97 * expected[0], "it must have learned something"
    torch.testing.assert_close(losses(twin, *given, 3), expected, rtol=1e-4, atol=1e-5)


def test_gradients_in_bf16_are_no_farther_from_float64_than_pytorchs(seed: int) -> None:
    model = model_of()
    images, scales = batch(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    images = images.bfloat16()
    exact = gradients(copy.deepcopy(model).double(), images.double(), scales.double())
    model.to(torch.bfloat16)
    eager = gradients(model, images, scales.bfloat16())
    with nearest_even():
        ours = gradients(by_triton(model), images, scales.bfloat16())

    def flat(found: dict[str, Tensor | None]) -> Tensor:
        return torch.cat([g.double().flatten() for g in found.values() if g is not None])

    def error(found: dict[str, Tensor | None]) -> float:
        return float((flat(found) - flat(exact)).norm() / flat(exact).norm())

    assert error(ours) < 1.5 * error(eager) < 0.1


def test_gradient_checkpointing_gives_the_same_bits(seed: int) -> None:
    model = by_triton(model_of(depths=[2], dims=[3]))
    images, scales = batch(seed)
    given = images, scales[:, 2:]
    kept = {name: g.clone() for name, g in gradients(model, *given).items() if g is not None}
    model.set_grad_checkpointing()
    again = gradients(model, *given)
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_blocks_that_do_not_suit_stay_with_pytorch(seed: int) -> None:
    model = by_triton(model_of(depths=[1, 2], token_mixers=["pooling", "identity"]))
    fused = [[block.fused is not None for block in stage.blocks] for stage in model.stages]
    assert fused == [[True], [False, False]]
    images, scales = batch(seed)
    plain = copy.deepcopy(model)
    plain.use_kernels("torch")
    with torch.inference_mode():
        torch.testing.assert_close(model(images, scales), plain(images, scales))


def test_weights_and_names_stay_and_so_does_the_way_back(seed: int) -> None:
    model = model_of()
    images, scales = batch(seed)
    before = model(images, scales)
    twin = by_triton(model)
    assert twin.state_dict().keys() == model.state_dict().keys()
    twin.use_kernels("torch")
    assert torch.equal(twin(images, scales), before)


def test_frozen_parameters_get_no_gradient_and_others_the_same(seed: int) -> None:
    model = model_of(freeze=("stages.0.blocks.0.*", "stem.*", "*.layer_scale1.scale"))
    given = batch(seed)
    expected, found = gradients(model, *given), gradients(by_triton(model), *given)
    for name, gradient in expected.items():
        if name.endswith("norm1.bias") and gradient is not None:
            assert not found[name].any()
        else:
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)
    assert sum(gradient is None for gradient in found.values()) >= 10


@pytest.mark.parametrize("parts", ["pooling", "mlp", "epilogues"])
def test_each_part_alone_computes_the_same(parts: Any, seed: int) -> None:
    model = model_of(depths=[1, 1])
    images, scales = batch(seed, 1)
    expected = model(images, scales[:, :4])
    model.use_kernels("triton", parts)
    torch.testing.assert_close(model(images, scales[:, :4]), expected)
