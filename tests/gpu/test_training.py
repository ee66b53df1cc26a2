"""Trainings on a GPU: resumed and repeated to the last bit, by any ZeRO stage and any kernels.

The small ones run on the CPU as well, through the same lines and Triton's interpreter.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT
from tests.dist.kill_rounds import curve, differences
from tests.dist.small_training import STEPS, small_training
from tests.gpu.training_checks import SIZES, Size

PROCESSES = {
    "cpu": [("stages", "alike", "resumed", "checkpointed", "kernels")],
    # Side by side: most of their time is starting, and compiling kernels.
    "cuda": [("stages", "alike"), ("resumed",), ("checkpointed", "kernels"), ("compiled",)],
}
"""Checks by the process that makes them; what is compiled on CPUs has tests of its own."""
_MODULE = "tests.gpu.training_checks"
_VICTIM = "tests.dist.victim"
ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
LOSS_BOUND = {"bf16": 1e-2, "fp32": 1e-3}
"""Between PyTorch and our kernels, relative, at each of the first steps."""


def environment(device: str) -> dict[str, str]:
    """Of a process that trains on the device; tests/conftest.py has chosen DeepSpeed's for CPUs."""
    own = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    own |= {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    own |= {"DS_ACCELERATOR": device}
    return own | ({"TRITON_INTERPRET": "1"} if device == "cpu" else {})


def found(device: str, folder: Path, *checks: str) -> dict[str, Any]:
    """What the checks of training_checks find on a device."""
    done = subprocess.run(
        [sys.executable, "-m", _MODULE, device, str(folder), *checks],
        cwd=ROOT,
        env=environment(device),
        text=True,
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=ON_GPU)])
def findings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Size, dict[str, Any]]:
    """How large the trainings were, and what was found."""
    device, folder = request.param, tmp_path_factory.mktemp("checks")
    processes = PROCESSES[device]
    with ThreadPoolExecutor(len(processes)) as pool:
        parts = list(pool.map(lambda checks: found(device, folder, *checks), processes))
    return SIZES[device], {name: value for part in parts for name, value in part.items()}


def test_all_zero_stages_give_the_same_losses(findings: tuple[Size, dict[str, Any]]) -> None:
    """The first loss to the last bit; later ones, after updates, within bf16's rounding."""
    size, checks = findings
    losses = checks["stages"]
    assert sorted(losses) == ["0", "1", "2", "3"]
    for own in losses.values():
        assert len(own) == size.steps and own[0] == losses["1"][0] != own[-1]
        assert own == pytest.approx(losses["1"], rel=1e-3)


def test_two_trainings_are_alike_to_the_last_bit(findings: tuple[Size, dict[str, Any]]) -> None:
    size, checks = findings
    assert checks["alike"] == {kernels: [] for kernels in size.repeated_kernels}


def test_a_resumed_training_ends_in_the_same_bits(findings: tuple[Size, dict[str, Any]]) -> None:
    """Losses, masters and moments, from a checkpoint and an engine of another seed."""
    size, checks = findings
    cases = [f"{kernels}, stage {stage}" for kernels in size.repeated_kernels for stage in (1, 3)]
    assert checks["resumed"] == {case: [] for case in cases}


def test_activation_checkpointing_changes_no_bit(findings: tuple[Size, dict[str, Any]]) -> None:
    size, checks = findings
    assert checks["checkpointed"] == {kernels: [] for kernels in size.repeated_kernels}


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_kernels_train_as_pytorch_does(findings: tuple[Size, dict[str, Any]], dtype: str) -> None:
    losses = findings[1]["kernels"][dtype]
    # In fp32 they may be the same to the last digit.
    assert dtype == "fp32" or losses["triton"] != losses["torch"], "one kind computed both"
    assert losses["triton"] == pytest.approx(losses["torch"], rel=LOSS_BOUND[dtype])


@pytest.mark.parametrize("findings", [pytest.param("cuda", marks=ON_GPU)], indirect=True)
def test_compiled_training_is_that_of_eager_pytorch(findings: tuple[Size, dict[str, Any]]) -> None:
    losses = findings[1]["compiled"]
    assert losses["compiled"] == pytest.approx(losses["eager"], rel=LOSS_BOUND["bf16"])


@pytest.fixture(scope="module")
def shards(request: pytest.FixtureRequest) -> Path:
    """Digits; made only where DALI is there, which decodes them."""
    if importlib.util.find_spec("nvidia") is None or not importlib.util.find_spec("nvidia.dali"):
        pytest.skip("needs DALI")
    return request.getfixturevalue("digit_shards")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_killed_training_goes_on_as_if_nobody_had(
    shards: Path, tmp_path: Path, command: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    """SIGKILL in a step, the whole loop: GPU decode, bf16, kernels, checkpoints, journal."""

    def train(name: str, **env: str) -> "subprocess.CompletedProcess[str]":
        overrides = ("device=cuda", "engine.dtype=bf16", "checkpoint.every_steps=5")
        words = small_training(name, tmp_path, shards, *overrides)
        return command("-m", _VICTIM, *words, RANK="0", DS_ACCELERATOR="cuda", **env)

    kill = {"phase": "step", "occurrence": 7, "after_s": 0.0, "rank": 0, "whole_job": False}
    with ThreadPoolExecutor(1) as pool:
        unbroken = pool.submit(train, "unbroken")
        killed = train("killed", KILL=json.dumps(kill), KILL_LOG=str(tmp_path / "kill"))
    assert unbroken.result().returncode == 0, unbroken.result().stderr[-4000:]
    assert killed.returncode == -9, killed.stderr[-4000:]
    resumed = train("killed")
    assert resumed.returncode == 0 and "resuming after step 5" in resumed.stderr
    assert differences(tmp_path / "killed", tmp_path / "unbroken") == []
    assert max(curve(tmp_path / "killed")["train/loss"]) == STEPS
