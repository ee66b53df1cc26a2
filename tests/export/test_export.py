"""The folder that an export leaves, and what it refuses."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch

from pipeline.errors import PipelineError, UserError
from pipeline.export import onnx_file
from pipeline.export.folder import new_folder
from pipeline.inference.hub_config import OWN_SETTINGS

Export = Callable[..., str]
Model = Callable[..., tuple[Path, Path]]


def test_a_run_is_exported_and_works_by_itself(
    command: Callable, export: Export, trained_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "models/digits"
    made = json.loads(export(trained_run, "--out", out, "--json"))
    assert sorted(made["files"]) == ["README.md", "config.json", "model.safetensors"]
    assert made["step"] == 72 and made["architecture"] is None
    assert {path.name: path.stat().st_size for path in out.iterdir()} == made["files"]
    assert (out / "model.safetensors").stat().st_mode & 0o777 == (
        out / "config.json"
    ).stat().st_mode & 0o777

    card = (out / "README.md").read_text()
    run = json.loads((trained_run / "run.json").read_text())
    journal = (trained_run / "journal.jsonl").read_text().splitlines()
    metrics = [record["metrics"] for line in journal if "metrics" in (record := json.loads(line))]
    best = [point["val/top1"] for point in metrics if "val/top1" in point][-1]
    for text in (
        f"| validation top-1 | {best:.2f} % |",
        f"| parameters | {made['parameters']:,} |",
        f"shards digits-train: sha256 {run['datasets']['digits-train']}",
        "- steps: 72",
        "- epochs: 3",
        "optim.lr_base: 0.01",
        f"- torch: {torch.__version__.partition('+')[0]}",
        "timm has no such model",
    ):
        assert text in card, text
    # Nothing of where it was made may leave with it.
    for file in ("README.md", "config.json"):
        assert str(trained_run.parent) not in (out / file).read_text()

    done = command(
        "-m", "pipeline.evaluate", out, "--data", run_data(trained_run), "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["top1"] == best


def run_data(run: Path) -> str:
    lines = (run / "config.resolved.yaml").read_text().splitlines()
    return next(line.split(": ")[1] for line in lines if line.startswith("  root: "))


@pytest.mark.parametrize("name", ["run", "test_resnet"])
def test_onnx_computes_the_same_for_any_batch(
    export: Export, model_of: Model, trained_run: Path, tmp_path: Path, name: str
) -> None:
    source: tuple[object, ...] = (trained_run,)
    if name != "run":
        config, weights = model_of(name, 64)
        source = (weights, "--config", config)
    made = json.loads(export(*source, "--out", tmp_path / "out", "--onnx", "--json"))
    assert 0 < made["onnx_difference"] <= 1e-4
    assert "`model.onnx` takes `images`" in (tmp_path / "out/README.md").read_text()
    session = onnxruntime.InferenceSession(tmp_path / "out/model.onnx")
    side = session.get_inputs()[0].shape[2]
    (logits,) = session.run(None, {"images": torch.zeros(7, 3, side, side).numpy()})
    assert logits.shape == (7, 10)


def test_onnx_that_differs_leaves_nothing_behind(
    export: Export, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = onnx_file.largest_difference

    def of_other_weights(path: Path, model: torch.nn.Module, side: int) -> float:
        with torch.no_grad():
            model.head.fc.weight[0] += 0.01
        return right(path, model, side)

    monkeypatch.setattr(onnx_file, "largest_difference", of_other_weights)
    with pytest.raises(PipelineError, match=r"differ from torch's by .* 1e-04 is the most"):
        export(trained_run, "--out", tmp_path / "out", "--onnx")
    assert list(tmp_path.iterdir()) == []


def test_onnx_without_its_packages(
    export: Export, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"--onnx needs onnxscript; .*'\.\[export\]'"):
        export(trained_run, "--out", tmp_path / "out", "--onnx")


def test_speeds_by_batch(export: Export, trained_run: Path, tmp_path: Path) -> None:
    text = export(trained_run, "--out", tmp_path / "out", "--bench", "--batches", "1,4")
    assert "1 thread(s), fp32; medians" in text
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")][2:]
    assert [int(row[1]) for row in rows] == [1, 4]
    for row in rows:
        ms, rate = float(row[2]), float(row[3].replace(",", ""))
        assert 1000 * int(row[1]) / ms == pytest.approx(rate, rel=0.1)
    assert text in (tmp_path / "out/README.md").read_text()
    with pytest.raises(UserError, match="--batches 1,x: write numbers"):
        export(trained_run, "--bench", "--batches", "1,x")


def test_an_existing_folder_stays_unless_forced(
    export: Export, trained_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(trained_run, "--out", out, "--checkpoint", "48")
    first = (out / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="exists; replace it with --force"):
        export(trained_run, "--out", out)
    assert (out / "model.safetensors").read_bytes() == first
    export(trained_run, "--out", out, "--force")
    assert (out / "model.safetensors").read_bytes() != first
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"is not an export \(thesis\.tex\)"):
        export(trained_run, "--out", out, "--force")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(text: str, error: Exception | None = None) -> None:
        with new_folder(tmp_path / "a") as folder:
            (folder / "file").write_text(text)
            if error:
                raise error

    with pytest.raises(OSError, match="full"):
        fill("half", OSError("full"))
    assert list(tmp_path.iterdir()) == []
    fill("old")
    with pytest.raises(KeyboardInterrupt):
        fill("half", KeyboardInterrupt())  # type: ignore[arg-type]
    assert (tmp_path / "a/file").read_text() == "old"
    fill("new")
    assert (tmp_path / "a/file").read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_mistakes_are_named(export: Export, trained_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(trained_run, "--out", out)
    with pytest.raises(UserError, match="--out is needed"):
        export(out)
    with pytest.raises(UserError, match="did you mean digits"):
        export("digts", "--runs-root", trained_run.parent)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out .*File exists"):
        export(trained_run, "--out", tmp_path / "file/out")
    config = json.loads((out / "config.json").read_text())
    assert config[OWN_SETTINGS]["model.metaformer.dims"] == [24, 48]
    (out / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: damaged JSON"):
        export(out, "--out", tmp_path / "again")
    (out / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not of timm's form"):
        export(out, "--out", tmp_path / "again")
