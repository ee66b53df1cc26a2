"""A run that is stopped or moved goes on as if nothing had happened."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.dist.kill_rounds import curve, differences, final_state
from tests.dist.nursery import Nursery
from tests.dist.small_training import STEPS, small_training

LINK = "tests.dist.chain_link"
CHAINS = {
    # Worlds of 1, 2, 4, 3 and 1; 4 ranks leave 2 of 8 slots empty.
    "fp32": [f"{stage}-fp32-8-48" for stage in (0, 1, 2, 3, 0)],
    "bf16": [f"{stage}-bf16-4-48" for stage in (1, 2, 3, 1, 2)],
}
WORLDS = (1, 2, 4, 3, 1)


@pytest.fixture(scope="module")
def arguments(digit_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list]:
    """Command line of a small training of a name, with overrides."""
    runs = tmp_path_factory.mktemp("runs")

    def build(name: str, *overrides: str) -> list[object]:
        return small_training(name, runs, digit_shards, *overrides)

    build.runs = runs  # type: ignore[attr-defined]
    return build


@pytest.fixture(scope="module")
def unbroken(arguments: Callable[..., list], nursery: Nursery) -> Path:
    nursery.results(2, "pipeline.train", *arguments("unbroken"))
    run = arguments.runs / "unbroken"  # type: ignore[attr-defined]
    assert sorted(curve(run)["train/loss"]) == [4, 8, 12, 14]
    assert sorted(curve(run)["val/top1"]) == [8, 14]
    return run


def wait_for_step(run: Path, step: int, processes: list["subprocess.Popen[str]"]) -> None:
    """Until the checkpoint of that step is committed."""
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / f"step-{step:08d}" / "COMMITTED").is_file():
        assert time.monotonic() < deadline, "no checkpoint came"
        assert all(process.poll() is None for process in processes), "a rank ended early"
        time.sleep(0.02)


def test_stopped_run_saves_and_goes_on(
    arguments: Callable[..., list],
    ranks: Callable[..., list["subprocess.Popen[str]"]],
    nursery: Nursery,
    unbroken: Path,
) -> None:
    """SIGTERM to one rank only: the ranks agree, save at a step boundary, and exit."""
    run = arguments.runs / "stopped"  # type: ignore[attr-defined]
    args = arguments("stopped", "checkpoint.every_steps=5")
    processes = ranks(2, ["-m", "pipeline.train", *args])
    wait_for_step(run, 5, processes)
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [130, 130], outputs
    saved = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert saved[-1] > "step-00000005" and saved[-1] < f"step-{STEPS:08d}"
    assert not list((run / "checkpoints").glob("*.tmp"))
    assert f"stopped at step {int(saved[-1][5:])}, saved" in outputs[0][1]
    nursery.results(2, "pipeline.train", *args)
    assert differences(run, unbroken) == []


def test_other_world_and_stage_go_on_within_rounding(
    arguments: Callable[..., list], nursery: Nursery, unbroken: Path
) -> None:
    run = arguments.runs / "moved"  # type: ignore[attr-defined]
    nursery.results(1, "pipeline.train", *arguments("moved", "train.max_steps=8"))
    nursery.results(2, "pipeline.train", *arguments("moved", "engine.zero_stage=3"))
    ours, theirs = final_state(run), final_state(unbroken)
    for name, value in theirs.items():
        if name.startswith("master/"):
            assert torch.allclose(ours[name], value, rtol=1e-3, atol=1e-5), name
    losses = curve(run)["train/loss"]
    assert losses == pytest.approx(curve(unbroken)["train/loss"], rel=1e-4)


@pytest.fixture(scope="module")
def chains(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """What the ranks of each link but the first one found, by chain."""
    found: dict[str, list[dict]] = {}
    for dtype, cases in CHAINS.items():
        folder = tmp_path_factory.mktemp(dtype)
        outputs = [
            nursery.results(world, LINK, folder, case, seed)
            for seed, (world, case) in enumerate(zip(WORLDS, cases, strict=True))
        ]
        assert all(json.loads(text)["step"] == 0 for text in outputs[0])
        found[dtype] = [json.loads(text) for link in outputs[1:] for text in link]
    return found


@pytest.mark.parametrize("dtype", CHAINS)
def test_all_state_survives_other_worlds_and_stages(
    dtype: str, chains: dict[str, list[dict]]
) -> None:
    """To the last bit, on every rank: masters, moments, average, buffers, step, rate, logits."""
    assert [rank["step"] for rank in chains[dtype]] == [2] * 2 + [4] * 4 + [6] * 3 + [8]
    for rank in chains[dtype]:
        assert rank["unequal"] == []
        assert rank["were_the_same_before"] == [], "else restoring had nothing to do"
        assert rank["kinds"] == ["average", "buffer", "exp_avg", "exp_avg_sq", "logits", "master"]
        assert rank["random_matrices"] == 1 and rank["statistics"] == 5
        assert rank["progress_is_the_same"] and rank["lr_is_the_same"]


@pytest.mark.parametrize("dtype", CHAINS)
def test_losses_go_on_on_other_worlds_and_stages(dtype: str, chains: dict[str, list[dict]]) -> None:
    """The next step's micro-batches: equal losses, and the same gradient but for its summing.

    In bf16 DeepSpeed divides each micro-batch's loss by the slots of a rank: 4 instead of 3
    round the gradients otherwise, and only powers of two do not.
    """
    for rank in chains[dtype]:
        assert rank["losses_are_the_same"]
        is_rounded = dtype == "bf16" and rank["step"] > 4
        assert rank["gradient_distance"] < (1e-2 if is_rounded else 1e-6)


def test_another_config_in_the_folder_is_refused(
    arguments: Callable[..., list], command: Callable, unbroken: Path
) -> None:
    done = command("-m", "pipeline.train", *arguments("unbroken", "optim.lr_base=1e-4"))
    assert done.returncode == 2
    assert "holds a run with another config:\n  optim.lr_base: 0.002 -> 0.0001" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gpu_that_is_missing_is_a_preflight_error(
    arguments: Callable[..., list], command: Callable
) -> None:
    args = arguments("gpu", "device=cuda")
    done = command("-m", "pipeline.train", *args, CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stdout) == (3, "")
    assert "device=cuda, but torch" in done.stderr and "set device=cpu" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (arguments.runs / "gpu").exists()  # type: ignore[attr-defined]
