"""A run that is stopped, killed or moved goes on as if nothing had happened."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
STEPS = 14
Ranks = Callable[..., list["subprocess.Popen[str]"]]
RunRanks = Callable[..., list[str]]


@pytest.fixture(scope="module")
def arguments(digit_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list]:
    """Command line of a small training in two micro-batches, eight steps an epoch."""
    runs = tmp_path_factory.mktemp("runs")

    def build(name: str, *overrides: str) -> list[object]:
        return [
            "-m",
            "pipeline.train",
            ROOT / "configs/digits.yaml",
            f"name={name}",
            f"data.root={digit_shards}",
            f"runs_root={runs}",
            f"train.max_steps={STEPS}",
            "train.global_batch=180",
            "train.micro_batch=90",
            "model.metaformer.depths=[1,1]",
            "model.metaformer.dims=[16,24]",
            "engine.dtype=fp32",
            "tracking.uri=journal",
            "tracking.every_steps=4",
            *overrides,
        ]

    build.runs = runs  # type: ignore[attr-defined]
    return build


def weights(run: Path, step: int = STEPS) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / f"step-{step:08d}"
    assert (folder / "COMMITTED").is_file()
    return {k: v for f in sorted(folder.glob("state-*")) for k, v in load_file(f).items()}


def curve(run: Path) -> dict[str, dict[int, float]]:
    """First value of each key and step, without those that measure time."""
    found: dict[str, dict[int, float]] = {}
    for line in (run / "journal.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "metrics":
            for key, value in record["metrics"].items():
                if not key.startswith("perf/"):
                    assert record["step"] not in found.setdefault(key, {}), "a point came twice"
                    found[key][record["step"]] = value
    return found


def assert_equal_runs(run: Path, reference: Path) -> None:
    ours, theirs = weights(run), weights(reference)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert curve(run) == curve(reference)


@pytest.fixture(scope="module")
def unbroken(arguments: Callable[..., list], run_ranks: RunRanks) -> Path:
    run_ranks(2, *arguments("unbroken"))
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


def test_killed_run_ends_in_the_same_weights(
    arguments: Callable[..., list], ranks: Ranks, run_ranks: RunRanks, unbroken: Path
) -> None:
    run = arguments.runs / "killed"  # type: ignore[attr-defined]
    args = arguments("killed", "checkpoint.every_steps=3")
    processes = ranks(2, args)
    wait_for_step(run, 6, processes)
    for process in processes:
        process.kill()
        process.communicate()
    run_ranks(2, *args)
    assert_equal_runs(run, unbroken)


def test_stopped_run_saves_and_goes_on(
    arguments: Callable[..., list], ranks: Ranks, run_ranks: RunRanks, unbroken: Path
) -> None:
    """SIGTERM to one rank only: the ranks agree, save at a step boundary, and exit."""
    run = arguments.runs / "stopped"  # type: ignore[attr-defined]
    args = arguments("stopped", "checkpoint.every_steps=5")
    processes = ranks(2, args)
    wait_for_step(run, 5, processes)
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [130, 130], outputs
    saved = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert saved[-1] > "step-00000005" and saved[-1] < f"step-{STEPS:08d}"
    assert not list((run / "checkpoints").glob("*.tmp"))
    assert f"stopped at step {int(saved[-1][5:])}, saved" in outputs[0][1]
    run_ranks(2, *args)
    assert_equal_runs(run, unbroken)


def test_other_world_and_stage_go_on_within_rounding(
    arguments: Callable[..., list], run_ranks: RunRanks, unbroken: Path
) -> None:
    run = arguments.runs / "moved"  # type: ignore[attr-defined]
    run_ranks(1, *arguments("moved", "train.max_steps=8"))
    run_ranks(2, *arguments("moved", "engine.zero_stage=3"))
    ours, theirs = weights(run), weights(unbroken)
    for name, value in theirs.items():
        if name.startswith("master/"):
            assert torch.allclose(ours[name], value, rtol=1e-3, atol=1e-5), name
    losses = curve(run)["train/loss"]
    assert losses == pytest.approx(curve(unbroken)["train/loss"], rel=1e-4)


def test_broken_checkpoint_is_named_and_skipped(
    arguments: Callable[..., list], command: Callable, run_ranks: RunRanks
) -> None:
    run = arguments.runs / "broken"  # type: ignore[attr-defined]
    args = arguments("broken", "train.max_steps=4", "checkpoint.every_steps=2")
    run_ranks(1, *args)
    newest = run / "checkpoints/step-00000004/state-00.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    (run / "checkpoints/step-00000009.attempt-0.tmp").mkdir()
    done = command(*args)
    assert done.returncode == 0, done.stderr
    assert "step-00000004 is skipped: state-00.safetensors differs" in done.stderr
    assert "resuming after step 2" in done.stderr
    assert not list((run / "checkpoints").glob("*.tmp"))


def test_another_config_in_the_folder_is_refused(
    arguments: Callable[..., list], command: Callable, unbroken: Path
) -> None:
    done = command(*arguments("unbroken", "optim.lr_base=1e-4"))
    assert done.returncode == 2
    assert "holds a run with another config:\n  optim.lr_base: 0.002 -> 0.0001" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gpu_that_is_missing_is_a_preflight_error(
    arguments: Callable[..., list], command: Callable
) -> None:
    done = command(*arguments("gpu", "device=cuda"), CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stdout) == (3, "")
    assert "device=cuda, but torch" in done.stderr and "set device=cpu" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (arguments.runs / "gpu").exists()  # type: ignore[attr-defined]
