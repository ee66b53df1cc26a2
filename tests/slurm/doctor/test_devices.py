"""GPUs against what is asked for, and decoding as training does it."""

import os
import time
from collections.abc import Mapping

import pytest

from pipeline.config import Config
from pipeline.errors import PreflightError
from pipeline.world import visible_gpus as count_gpus
from slurm.doctor import devices
from slurm.doctor.devices import Gpu, decoding, gpus_verdict, torch_device, visible_gpus
from slurm.doctor.subject import Subject

CPU = Subject(Config(device="cpu"), "n1")
GPU = Subject(Config(), "n1")
FREE = Gpu("NVIDIA H100 80GB HBM3", 500_000_000, 80_000_000_000)
USED = Gpu("NVIDIA H100 80GB HBM3", 20_000_000_000, 80_000_000_000)


@pytest.mark.parametrize(
    ("ranks", "seen", "state", "part"),
    [
        (2, [FREE, FREE], "ok", "2 × NVIDIA H100 80GB HBM3, 80 GB each"),
        (1, [FREE, FREE], "ok", "2 × NVIDIA H100"),
        (8, [FREE] * 7, "fail", "8 GPU(s) asked for, 7 seen"),
        (2, [FREE, USED], "warn", "GPU 1 holds 20.0 of 80 GB already"),
    ],
)
def test_gpus_against_ranks(ranks: int, seen: list[Gpu], state: str, part: str) -> None:
    verdict = gpus_verdict(ranks, seen)
    assert verdict.state == state and part in verdict.reason, verdict
    assert bool(verdict.remedy) == (state != "ok")


def test_as_many_gpus_as_a_process_may_use() -> None:
    assert len(visible_gpus({})) >= count_gpus()
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []


def test_a_task_that_slurm_binds_to_a_gpu_sees_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def one(environment: Mapping[str, str]) -> list[Gpu]:
        return [FREE]

    monkeypatch.setattr(devices, "visible_gpus", one)
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "3")
    task = Subject(Config(), "n1", ranks=8, is_in_job=True)
    verdict = devices.gpus(task)
    assert verdict is not None and verdict.state == "ok"
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "0,1,2")
    verdict = devices.gpus(task)
    assert verdict is not None and verdict.state == "fail"


def test_gpus_are_no_matter_on_cpus() -> None:
    assert devices.gpus(CPU) is None


def test_dali_decodes_as_pillow_does() -> None:
    began = time.monotonic()
    verdict = decoding(CPU)
    assert verdict.state == "ok" and "on the CPU" in verdict.reason
    assert time.monotonic() - began < 30


def test_pixels_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_LARGEST_DIFFERENCE", -1.0)
    assert decoding(CPU).state == "fail"


def test_torch_opens_the_device_that_is_asked_for() -> None:
    assert torch_device(CPU).reason == "torch computes on cpu"


@pytest.mark.skipif(count_gpus() > 0, reason="this machine has a GPU")
def test_without_gpu_torch_says_so() -> None:
    with pytest.raises(PreflightError, match="finds no GPU on n1"):
        torch_device(GPU)
