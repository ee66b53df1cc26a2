"""Our kernels on a GPU, beside PyTorch in float64: M48's shapes, and odd ones."""

import os
import random

import pytest
import torch

pytest.importorskip("triton")

# Before the first use of CUDA: poisoned outputs need PyTorch's deterministic algorithms.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

from pipeline.config.schema import ModelConfig
from pipeline.models.build import build_model
from pipeline.models.kernels.statistics import statistics_of
from pipeline.models.metaformer import MetaFormer
from tests.models.kernels import mlp_checks, pooling_checks
from tests.models.kernels.mlp_checks import poisoned_outputs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.fixture
def seed() -> int:
    return random.randrange(2**31)


@pytest.mark.parametrize("case", pooling_checks.DEVICE_CASES, ids=str)
def test_pooling_half_is_that_of_float64(case: pooling_checks.Case, seed: int) -> None:
    pooling_checks.check_against_float64(case, seed, "cuda")


@pytest.mark.parametrize("case", mlp_checks.DEVICE_CASES, ids=str)
def test_mlp_half_is_that_of_float64(case: mlp_checks.Case, seed: int) -> None:
    mlp_checks.check_against_float64(case, seed, "cuda")


@pytest.mark.parametrize("case", pooling_checks.DEVICE_CASES[:2], ids=str)
def test_pooling_half_gives_the_same_bits_twice(case: pooling_checks.Case, seed: int) -> None:
    pooling_checks.check_same_bits(case, seed, "cuda")


@pytest.mark.parametrize("case", mlp_checks.DEVICE_CASES[:2], ids=str)
def test_mlp_half_gives_the_same_bits_twice(case: mlp_checks.Case, seed: int) -> None:
    mlp_checks.check_same_bits(case, seed, "cuda")


@pytest.mark.parametrize("offset", [0, -1000])
def test_statistics_do_not_cancel(offset: int, seed: int) -> None:
    draw = torch.Generator("cuda").manual_seed(seed)
    x = offset + torch.randn(8, 96, 56, 56, device="cuda", generator=draw)
    with poisoned_outputs():
        found = statistics_of(x.to(memory_format=torch.channels_last), pooling_checks.EPS)
    pooling_checks.check_statistics(found, x)


def test_a_map_of_more_than_2_to_the_31_numbers(seed: int) -> None:
    """The last image of a batch whose places no 32-bit integer counts: 9 GB in bf16, x and y."""
    images, channels, side = 7200, 96, 56
    x = torch.zeros(images, side, side, channels, device="cuda", dtype=torch.bfloat16)
    x = x.permute(0, 3, 1, 2)
    assert x.numel() > 2**31
    case = pooling_checks.Case(1, channels, side, side, torch.bfloat16, has_drop=False)
    given = pooling_checks.inputs(case, seed, "cuda")
    x[-1:] = given.x
    parameters = list(given.parameters.values())
    statistics = statistics_of(x, pooling_checks.EPS)
    with torch.inference_mode():
        y, _ = pooling_checks.pooling_half(x, statistics, *parameters, None, 3, pooling_checks.EPS)
        alone, _ = pooling_checks.pooling_half(
            given.x, statistics_of(given.x, pooling_checks.EPS), *parameters, None, 3,
            pooling_checks.EPS,
        )  # fmt: skip
    assert torch.equal(y[-1:], alone)


@pytest.mark.parametrize("act", ["gelu", "relu", "silu"])
def test_a_model_s_gradients_are_no_farther_from_float64_than_pytorchs(act: str) -> None:
    """S12 in bf16, as a whole: logits and all gradients."""
    settings = {"num_classes": 10, "metaformer": {"act": act, "layer_scale_init": 0.1}}
    model = build_model(ModelConfig.model_validate(settings), 0, 224)
    assert isinstance(model, MetaFormer)
    # The same weights in all: those that bf16 has.
    model.to("cuda", torch.bfloat16, memory_format=torch.channels_last)
    images = torch.randn(4, 3, 224, 224, device="cuda").bfloat16()
    scales = torch.full((4, 2 * sum(model.depths)), 1.25, device="cuda").bfloat16()
    scales[0, 5] = 0

    def run(dtype: torch.dtype, kernels: str) -> torch.Tensor:
        model.to(dtype)
        model.use_kernels(kernels)
        model.zero_grad()
        ordered = images.to(dtype).contiguous(memory_format=torch.channels_last)
        logits = model(ordered, scales.to(dtype))
        logits.float().logsumexp(1).sum().backward()
        found = [p.grad.double().flatten() for p in model.parameters()]
        return torch.cat([logits.detach().double().flatten(), *found])

    ours, eager = run(torch.bfloat16, "triton"), run(torch.bfloat16, "torch")
    exact = run(torch.float64, "torch")
    errors = [float((found - exact).norm() / exact.norm()) for found in (ours, eager)]
    assert errors[0] < 1.2 * errors[1] < 0.2, errors
