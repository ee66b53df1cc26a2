"""On a GPU the loader gives the samples that it gives on the CPU, and always the same bits."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("nvidia.dali")

from pipeline.config import Config, load
from pipeline.data.batches import Step
from pipeline.data.loader import Loader
from pipeline.plan import make_plan
from pipeline.shards import open_split
from tests.benchmarks.gpu.photographs import make_shards
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
STEPS = 4
LEVEL = 1 / (255 * 0.225)
"""One of 255 levels in a normalised image."""
MEDIAN_BOUND, WORST_BOUND = 1.5 * LEVEL, 8 * LEVEL
"""Mean differences of images; equalize and posterize spread what decoders differ by."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("photographs"), 160, seed=3)


def config_of(shards: Path, *overrides: str) -> Config:
    """Two steps of two micro-batches an epoch, the whole recipe."""
    settings = [
        f"data.root={shards}",
        "data.val_split=train",
        "train.global_batch=64",
        "train.micro_batch=32",
        f"train.max_steps={STEPS}",
        "evaluate.batch_size=48",
        "engine.dtype=fp32",
    ]
    return load(ROOT / "configs/m48.yaml", [*settings, *overrides]).config


def loader_of(config: Config, device: torch.device) -> Loader:
    split = open_split(config.data.root, "train")
    plan = make_plan(config, 1, len(split), len(split))
    return Loader(config, plan, 0, device, split, split, np.linspace(0, 0.4, 4))


def assert_near(got: torch.Tensor, expected: torch.Tensor, median: float, worst: float) -> None:
    """(B, 3, H, W) images, by the mean differences of each."""
    apart = (got.cpu() - expected).abs().mean(dim=(1, 2, 3))
    print(f"levels apart: median {apart.median() / LEVEL:.3f}, worst {apart.max() / LEVEL:.3f}")
    assert apart.median() < median and apart.max() < worst


@pytest.mark.parametrize("decode", ["gpu", "cpu"])
def test_training_sees_what_it_sees_on_the_cpu(decode: str, shards: Path) -> None:
    there = loader_of(config_of(shards, f"data.decode={decode}"), GPU).steps(0)
    here = loader_of(config_of(shards, "data.decode=cpu"), CPU).steps(0)
    for ours, theirs in zip(there, here, strict=True):
        for one, other in zip(ours.slots, theirs.slots, strict=True):
            assert (one.index, one.ids, one.torch_seed) == (
                other.index,
                other.ids,
                other.torch_seed,
            )
            assert one.images.device == GPU and one.drop_path is not None
            assert torch.equal(one.targets.cpu(), other.targets)
            assert torch.equal(one.drop_path.cpu(), other.drop_path)
            assert_near(one.images, other.images, MEDIAN_BOUND, WORST_BOUND)


def test_evaluation_sees_what_it_sees_on_the_cpu(shards: Path) -> None:
    there, here = (loader_of(config_of(shards), device).evaluation() for device in (GPU, CPU))
    for one, other in zip(there, here, strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert torch.equal(one.targets.cpu(), other.targets)
        assert_near(one.images, other.images, MEDIAN_BOUND, MEDIAN_BOUND)


def digests(steps: list[Step]) -> list[str]:
    slots = [slot for step in steps for slot in step.slots]
    return [hashlib.sha256(slot.images.cpu().numpy().tobytes()).hexdigest() for slot in slots]


def test_resumed_or_on_a_busy_gpu_and_another_stream_it_gives_the_same_bits(shards: Path) -> None:
    """Where memory were given back too early, a later batch would lie in an earlier one."""
    config = config_of(shards)
    whole = digests(list(loader_of(config, GPU).steps(0)))
    assert len(set(whole)) == 2 * STEPS
    for start in (1, 3):
        assert digests(list(loader_of(config, GPU).steps(start))) == whole[2 * start :]
    work = torch.randn(8192, 8192, device=GPU, dtype=torch.bfloat16)
    with torch.cuda.stream(torch.cuda.Stream(GPU)):
        late: list[Step] = []
        for step in loader_of(config, GPU).steps(0):
            late.append(step)
            for _ in range(50):
                work = torch.mm(work, work).mul_(0.01)
        assert digests(late) == whole
