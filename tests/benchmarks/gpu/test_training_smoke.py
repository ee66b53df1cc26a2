"""The benchmark of training on GPUs, without one: every line on tiny models, and its arithmetic."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.benchmarks.gpu import predictions, rungs
from tests.benchmarks.gpu.findings import Findings, Measured
from tests.benchmarks.gpu.laps import by_kernel
from tests.benchmarks.gpu.report import forecast_row, text
from tests.benchmarks.gpu.scale import Scale
from tests.benchmarks.gpu.workers import Failed, TooSlow, WorkerProcess

Command = Callable[..., "subprocess.CompletedProcess[str]"]
PARTS = ("ladder", "sizes", "batches", "decoded")
# Answers every line; or stops, or dies.
STUB = """
import json, os, sys, time
for line in sys.stdin:
    word = json.loads(line)["do"]
    if word == "die":
        print("out of luck", file=sys.stderr)
        os._exit(7)
    if word == "hang":
        time.sleep(60)
    print(json.dumps({"error": "ValueError: no"} if word == "fail" else {"did": word}), flush=True)
"""


@pytest.fixture
def stub(tmp_path: Path) -> WorkerProcess:
    return WorkerProcess([sys.executable, "-c", STUB], {}, tmp_path / "log")


def test_smoke_run_passes_through_every_part(command: Command, tmp_path: Path) -> None:
    """torch.compile is left to its own tests: here it would take longer than all the rest."""
    out = tmp_path / "out"
    out.mkdir()
    words = ("--device", "cpu", "--smoke", "--out", out, "--tmp", tmp_path)
    done = command("-m", "tests.benchmarks.gpu", *words, TORCH_COMPILE_DISABLE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((out / "gpu-training.json").read_text())
    figures = result["figures"]
    assert figures["left_out"] == {} and figures["is_smoke"] and figures["targets"] == []
    rows = [row for part in PARTS for row in figures[part]]
    assert [row["name"] for row in rows if "error" in row] == []
    assert all(row["images_per_second"]["median"] > 0 for row in rows)
    assert [row["name"] for row in figures["ladder"][:-1]] == [rung.name for rung in rungs.LADDER]
    assert figures["ceilings"]["method"] and figures["compile_start_with_cache"]["first_step_s"] > 0
    table = json.loads((out / "gpu-predictions.json").read_text())["figures"]
    assert all(row["measured_images_per_second"] > 0 for row in table["rungs"])
    assert "speeds" not in done.stdout, "a smoke run measures nothing that forecasts may go by"


def test_roofs_are_those_of_counted_passes() -> None:
    """129, 78 and 41 passes of M48 on an H200, as reckoned by hand; no more than its operations."""
    model = predictions.known("m48")
    found = [predictions.roof(model, predictions.ASSUMED, count) for count in (129, 78, 41)]
    assert found == pytest.approx([2660, 4170, 7200], rel=0.02)
    limit = predictions.ASSUMED.flops / model.training_flops
    assert (
        predictions.roof(model, predictions.ASSUMED, 30) < limit == pytest.approx(11400, rel=0.01)
    )


def test_each_rung_of_the_ladder_has_a_prediction_and_bears_its_measurement() -> None:
    names = [rung.name for rung in rungs.LADDER]
    rows = predictions.rows(
        predictions.ASSUMED, {names[0]: 1000.0}, {names[0]: 200.0}, {names[0]: "clocks"}
    )
    assert [row["rung"] for row in rows] == names
    first, *others = rows
    assert first["measured_images_per_second"] == 1000.0 and first["reason"] == "clocks"
    expected = 1000 / first["predicted_images_per_second"]
    assert first["measured_over_predicted"] == pytest.approx(expected, rel=1e-3)
    assert first["measured_megabytes_per_image"] == 200.0
    assert {row["measured_images_per_second"] for row in others} == {None}
    assert {row["measured_megabytes_per_image"] for row in others} == {None}
    eager = next(row for row in rows if row["rung"] == rungs.EAGER.name)
    # Counted by autograd's own saving: pipeline/plan/forecast.yaml.
    counted = predictions.known("m48").activation_bytes / 1e6
    assert eager["predicted_megabytes_per_image"] == pytest.approx(counted, rel=0.02)


def test_the_rule_for_epilogues_is_the_kernels_own() -> None:
    pytest.importorskip("triton")
    from pipeline.models.kernels.mlp_half import uses_triton

    most = predictions.EPILOGUE_DIMS
    rule = partial(uses_triton, "auto", dtype=torch.bfloat16)
    assert rule(most) and not rule(most + 1)


def findings_of(speeds: dict[rungs.Rung, float], **decoded: float) -> Findings:
    found = Findings(Scale("cuda", is_smoke=False), "NVIDIA H200")
    found.ladder = {rung.name: measured(rung, speed) for rung, speed in speeds.items()}
    found.decoded = {name: measured(rungs.RULE, speed) for name, speed in decoded.items()}
    return found


def measured(rung: rungs.Rung, *speeds: float) -> Measured:
    laps = [{"images_per_second": s, "milliseconds_per_step": 128e3 / s} for s in speeds]
    return Measured(rung, laps)


def test_targets_are_met_missed_or_not_measured() -> None:
    speeds = {rungs.EAGER_TIMM: 1000.0, rungs.EAGER_TIMM_LAST: 2500.0, rungs.RULE: 4400.0}
    found = findings_of(speeds | {rungs.COMPILED: 2400.0}, synthetic=4000.0, decoded=3900.0)
    verdicts = {one["what"]: (one["measured"], one["verdict"]) for one in found.targets()}
    assert verdicts == {
        "images/s compiled": (2400.0, "missed"),
        "images/s with our kernels": (4400.0, "met"),
        # To the faster of timm's two forms.
        "times timm eager": (1.76, "missed"),
        "times timm compiled": (None, "not measured"),
        "decoded over synthetic": (0.975, "met"),
    }


def test_speeds_may_be_of_larger_batches_and_ratios_are_not() -> None:
    found = findings_of({rungs.EAGER_TIMM: 2000.0, rungs.EAGER: 9000.0, rungs.RULE: 3900.0})
    speeds = {64: 9000.0, 256: 4300.0, 512: 4100.0}
    variants = [replace(rungs.RULE, name=f"batch {n}", batch=n) for n in speeds]
    found.batches = {one.name: measured(one, speeds[one.batch]) for one in variants}
    row, ratio = found.targets()[1:3]
    assert (row["what"], row["measured"], row["verdict"]) == (
        "images/s with our kernels",
        4300.0,
        "met",
    )
    assert row["batch"] == 256 and ", batch 256" in text(found)
    assert (ratio["measured"], ratio["batch"]) == (4.5, 128)


def test_a_peers_failure_is_told_and_only_ours_is_a_fault() -> None:
    found = findings_of({rungs.RULE: 4000.0})
    for rung in (rungs.EAGER_TIMM, rungs.COMPILED):
        found.ladder[rung.name] = Measured(rung, error="RuntimeError: no")
    assert found.faults() == {"compiled": "RuntimeError: no"}
    assert "no fault of this project: timm eager (RuntimeError: no)" in text(found)
    found.left_out["compiled"] = "RuntimeError: no"
    assert found.faults() == {}


def test_a_row_tells_of_the_data_sheet_and_the_measured_limits() -> None:
    found = findings_of({rungs.RULE: 4000.0})
    found.ceilings = {"flops": 790e12, "bytes_per_second": 4.3e12, "method": ""}
    (row,) = found.figures()["ladder"]
    assert row["mfu"] == pytest.approx(4000 * 69.2e9 / 989.4e12, abs=1e-4)
    assert row["of_measured_product"] == pytest.approx(4000 * 69.2e9 / 790e12, abs=1e-4)
    assert row["of_roof_of_41_passes"] == pytest.approx(4000 / 7185, abs=1e-3)


def test_the_forecast_goes_by_decoded_images_where_they_were_measured() -> None:
    row = forecast_row(findings_of({rungs.RULE: 4000.0, rungs.EAGER_TIMM: 9000.0}))
    assert row is not None and "hardware: NVIDIA H200, images_per_second: 4000.0," in row
    row = forecast_row(findings_of({rungs.RULE: 4000.0}, synthetic=4000.0, decoded=3900.0))
    assert row is not None and "images_per_second: 3900.0," in row


def test_kernels_are_added_up_by_name_and_step() -> None:
    def event(name: str, us: float, on_gpu: bool = True, is_note: bool = False) -> SimpleNamespace:
        kind = torch.autograd.DeviceType.CUDA if on_gpu else torch.autograd.DeviceType.CPU
        span = SimpleNamespace(elapsed_us=lambda: us)
        return SimpleNamespace(
            name=name, device_type=kind, is_user_annotation=is_note, time_range=span
        )

    events = [event("pool", 3000.0), event("gemm", 9000.0), event("pool", 1000.0)]
    events += [event("cudaLaunchKernel", 5.0, on_gpu=False), event("step", 1e5, is_note=True)]
    found = by_kernel(events, steps=2)
    assert found["kernel_milliseconds"] == 6.5 and found["kernels"] == 1
    assert [row["kernel"] for row in found["longest"]] == ["gemm", "pool"]
    assert found["longest"][1]["milliseconds"] == 2.0 and found["longest"][1]["launches"] == 1


def test_an_error_is_an_answer_after_which_a_worker_goes_on(stub: WorkerProcess) -> None:
    with pytest.raises(Failed, match="ValueError: no"):
        stub.ask(20, do="fail")
    assert stub.ask(20, do="lap") == {"did": "lap"}
    stub.end()


@pytest.mark.parametrize(
    ("word", "told"), [("die", "ended with code 7: out of luck"), ("hang", "more than 1 s")]
)
def test_a_worker_that_dies_or_hangs_is_told_of_and_ended(
    stub: WorkerProcess, word: str, told: str
) -> None:
    with pytest.raises(TooSlow if word == "hang" else Failed, match=told):
        stub.ask(1 if word == "hang" else 20, do=word)
    with pytest.raises(Failed, match="ended with code"):
        stub.ask(20, do="lap")
