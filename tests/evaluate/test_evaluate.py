"""The command's figures are the run's own, and what it cannot evaluate it says."""

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.checkpoint.weights import weights_from
from pipeline.config import read_resolved
from pipeline.config.load import write_resolved
from pipeline.errors import PreflightError, UserError
from pipeline.evaluate.__main__ import check_classes, main
from pipeline.inference.trained import Trained, find_trained
from pipeline.shards import open_split
from pipeline.tracking.run_folder import RunFolder

Evaluate = Callable[..., str]


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Evaluate:
    """Run the command in this process; returns its stdout."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments)])
        assert main() == 0
        return capsys.readouterr().out

    return run


def journaled(run: Path, step: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in (run / "journal.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "metrics" and record["step"] == step:
            found |= record["metrics"]
    return found


def test_figures_are_the_runs_own_to_the_last_digit(
    command: Callable, evaluate: Evaluate, trained_run: Path, tmp_path: Path
) -> None:
    table = tmp_path / "classes.csv"
    words = ("digits", "--runs-root", trained_run.parent, "--csv", table, "--json")
    done = command("-m", "pipeline.evaluate", *words)
    assert done.returncode == 0, done.stderr
    found, own = json.loads(done.stdout), journaled(trained_run, 72)
    assert (found["step"], found["images"], found["real"]) == (72, 355, None)
    assert [found[key] for key in ("loss", "top1", "top5")] == [
        own[f"val/{key}"] for key in ("loss", "top1", "top5")
    ]
    earlier = json.loads(evaluate(trained_run, "--checkpoint", "48", "--json"))
    assert earlier["top1"] == journaled(trained_run, 48)["val/top1"] != found["top1"]

    assert [row["name"] for row in found["classes"]] == [str(digit) for digit in range(10)]
    right = sum(row["images"] * row["top1"] / 100 for row in found["classes"])
    assert right / 355 * 100 == pytest.approx(found["top1"])
    wrong = sum(pair["images"] for pair in found["confusions"])
    assert right + wrong == pytest.approx(355)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [int(row["images"]) for row in rows] == [row["images"] for row in found["classes"]]


def test_report_for_a_person(evaluate: Evaluate, trained_run: Path) -> None:
    text = evaluate(trained_run / "checkpoints/step-00000072", "evaluate.batch_size=64")
    assert f"top-1   {journaled(trained_run, 72)['val/top1']:.2f} % of 355 images" in text
    assert "Confusions, the first 10 of" in text and "most often taken for" in text


def test_a_weights_file_needs_its_settings(
    evaluate: Evaluate, trained_run: Path, tmp_path: Path
) -> None:
    save_file(weights_from(trained_run), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"no config\.json beside it.*--config FILE"):
        evaluate(tmp_path / "w.safetensors")
    config = trained_run / "config.resolved.yaml"
    found = json.loads(evaluate(tmp_path / "w.safetensors", "--config", config, "--json"))
    assert found["top1"] == journaled(trained_run, 72)["val/top1"] and found["step"] is None


def test_shards_of_other_classes_are_refused(
    evaluate: Evaluate, trained_run: Path, digit_shards: Path, damaged_shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"has 3 classes, the model .* has model.num_classes=10"):
        evaluate(trained_run, "--data", damaged_shards)
    with pytest.raises(UserError, match=r"no manifest\.json there"):
        evaluate(trained_run, "--data", tmp_path)
    # As many classes, but other names or another order: labels would mean something else.
    config = read_resolved(trained_run / "config.resolved.yaml")
    others = Trained(config, trained_run, None, [*map(str, range(1, 10)), "0"])
    with pytest.raises(UserError, match=r"label 0 is '0' in .*, but '1' for the model"):
        check_classes(others, open_split(digit_shards, "validation"))


def test_mistakes_are_named(evaluate: Evaluate, trained_run: Path, tmp_path: Path) -> None:
    root = trained_run.parent
    settings = ("--config", trained_run / "config.resolved.yaml")
    resnet, digits = tmp_path / "resnet.safetensors", trained_run / "checkpoints/step-00000072"
    save_file({"layer1.0.conv1.weight": torch.zeros(8)}, resnet)
    deeper = (trained_run, "model.metaformer.depths=[2,1]")
    cases: list[tuple[str, tuple[object, ...]]] = [
        ("did you mean digits", ("digit", "--runs-root", root)),
        ("no such file", (tmp_path / "gone.safetensors",)),
        (r"no checkpoint '5'; .*or 48, 72", (trained_run, "--checkpoint", 5)),
        ("is no run with several", (digits, "--checkpoint", 5)),
        (r"not ours .*: layer1\.0\.conv1\.weight;", (resnet, *settings)),
        ("there is no folder", (trained_run, "--csv", tmp_path / "no/x.csv")),
        (r"missing: stages\.0\.blocks\.1\.norm1\.weight", deeper),
        ("model.num_classes=11", (trained_run, "model.num_classes=11")),
        ("unknown setting; did you mean device", (trained_run, "devise=cpu")),
    ]
    for text, words in cases:
        with pytest.raises(UserError, match=text):
            evaluate(*words)


def test_a_missing_gpu_and_missing_weights(
    evaluate: Evaluate, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(PreflightError, match="device=cuda, but torch"):
        evaluate(trained_run, "device=cuda")
    shutil.copytree(trained_run, tmp_path / "empty", ignore=shutil.ignore_patterns("step-*"))
    with pytest.raises(UserError, match="no whole checkpoint there"):
        evaluate(tmp_path / "empty")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json, but no model\.safetensors"):
        evaluate(tmp_path)


def test_on_a_cpu_a_gpus_kernels_are_pytorchs(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = RunFolder(shutil.copytree(trained_run, tmp_path / "digits"))
    config = read_resolved(run.config)
    model = config.model.model_copy(update={"kernels": "triton"})
    on_gpu = config.model_copy(update={"device": "cuda", "model": model})
    run.config.write_text(write_resolved(on_gpu))
    flags = argparse.Namespace(config=None, checkpoint=None, runs_root=str(tmp_path))
    assert find_trained("digits", flags, []).config == on_gpu
    trained = find_trained("digits", flags, ["device=cpu"])
    assert trained.config.model.kernels == "torch"
    assert "kernels=triton is torch on a CPU" in capsys.readouterr().err
    asked = find_trained("digits", flags, ["device=cpu", "model.kernels=triton"])
    assert asked.config.model.kernels == "triton", "said here and now, it is the user's word"
