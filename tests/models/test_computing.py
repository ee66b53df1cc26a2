"""How a model is computed: what is compiled, and the form that images take."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.models.build import build_model
from pipeline.models.computing import ImageForm, blocks_of, memory_format, set_computing
from pipeline.models.kernels.choice import choose_kernels

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def config_of(engine: dict[str, Any] | None = None, device: str = "cpu", **model: Any) -> Config:
    network = {"metaformer": {"depths": [2, 1], "dims": [8, 16]}, "num_classes": 10}
    return Config.model_validate(
        {
            "device": device,
            "augment": {"img_size": 32},
            "engine": {"dtype": "fp32"} | (engine or {}),
            "evaluate": {"batch_size": 6},
            "model": network | model,
        }
    )


def images_of(count: int) -> Tensor:
    images = torch.randn(count, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    return images.permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("name", "count"), [("metaformer", 3), ("poolformer_s12", 12), ("resnet18", 0)]
)
def test_blocks_are_what_a_model_repeats(name: str, count: int) -> None:
    config = config_of(name=name)
    assert len(blocks_of(build_model(config.model, 0, 32))) == count


def test_stage_3_cannot_compile_a_model_without_blocks() -> None:
    config = config_of(engine={"compile": True, "zero_stage": 3}, name="resnet18")
    with pytest.raises(UserError, match=r"model\.name=resnet18 is not; use engine\.zero_stage=1"):
        set_computing(build_model(config.model, 0, 32), config)


@pytest.mark.parametrize(
    ("device", "kernels", "compiles", "expected"),
    [
        ("cpu", "auto", True, None),
        ("cuda", "torch", False, torch.contiguous_format),
        ("cuda", "torch", True, torch.channels_last),
        ("cuda", "auto", False, torch.channels_last),
        ("cuda", "triton", False, torch.channels_last),
    ],
)
def test_auto_is_the_order_that_the_kernels_know(
    device: str, kernels: str, compiles: bool, expected: torch.memory_format | None
) -> None:
    pytest.importorskip("triton")
    assert memory_format(config_of({"compile": compiles}, device, kernels=kernels)) == expected


def test_contiguous_maps_are_pytorchs() -> None:
    config = config_of({"memory_format": "contiguous"}, "cuda")
    assert (choose_kernels(config), memory_format(config)) == ("torch", torch.contiguous_format)
    with pytest.raises(ValidationError, match=r"memory_format=auto, or model\.kernels=torch"):
        config_of({"memory_format": "contiguous"}, "cuda", kernels="triton")


@pytest.mark.parametrize("wanted", list(FORMATS))
@pytest.mark.parametrize("name", ["metaformer", "poolformer_s12", "vit_tiny_patch16_224"])
def test_either_order_gives_the_same_answers_and_gradients(wanted: str, name: str) -> None:
    config = config_of({"memory_format": wanted}, name=name)
    found = []
    for form in (ImageForm(config), ImageForm(config_of(name=name))):
        images = form.arranged(images_of(3))
        model = build_model(config.model, 0, 32).eval()
        logits = model(images)
        logits.logsumexp(1).sum().backward()
        found.append([logits, *(p.grad for p in model.parameters())])
    assert ImageForm(config).arranged(images_of(3)).is_contiguous(memory_format=FORMATS[wanted])
    for one, other in zip(*found, strict=True):
        # The bias of a norm before pooling has a gradient of 0, but for rounding.
        bound = 1e-4 * torch.linalg.vector_norm(other) + 1e-9
        assert torch.linalg.vector_norm(one - other) <= bound


@pytest.mark.parametrize("compiles", [False, True])
def test_only_a_compiled_model_gets_small_batches_filled_up(compiles: bool) -> None:
    shapes: list[tuple[int, ...]] = []

    def model(images: Tensor) -> Tensor:
        shapes.append((*images.shape, *images.stride()))
        return images.sum((2, 3)).bfloat16()

    form = ImageForm(config_of({"compile": compiles}))
    for count in (6, 4, 1):
        images = images_of(count)
        logits = form.evaluated(model, images)
        assert (logits.dtype, logits.shape) == (torch.float32, (count, 3))
        assert torch.equal(logits, images.sum((2, 3)).bfloat16().float())
    assert [shape[0] for shape in shapes] == ([6, 6, 6] if compiles else [6, 4, 1])
    assert len(set(shapes)) == (1 if compiles else 3), "compiled for one size and order"
