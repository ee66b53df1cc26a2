"""The benchmark of loading for a GPU, without one: every line on few images, and its arithmetic."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tests.benchmarks.gpu.loading as main
from tests.benchmarks.gpu import photographs
from tests.benchmarks.gpu.loading_cases import REFERENCE, cases
from tests.benchmarks.gpu.loading_laps import growth, lap, slope
from tests.benchmarks.gpu.photographs import MEAN_BYTES, photograph
from tests.benchmarks.gpu.report import NAME as TRAINING

Command = Callable[..., "subprocess.CompletedProcess[str]"]
GPU = "NVIDIA H200"


def test_smoke_run_passes_through_every_part(command: Command, tmp_path: Path) -> None:
    words = ("--device", "cpu", "--smoke", "--out", tmp_path, "--tmp", tmp_path)
    done = command("-m", "tests.benchmarks.gpu.loading", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "gpu-loading.json").read_text())["figures"]
    assert figures["left_out"] == figures["failed"] == {} and figures["is_smoke"]
    assert [row["name"] for row in figures["cases"]] == [c.name for c in cases("cpu", True)]
    assert [row["name"] for row in figures["peers"]] == list(main.PEERS)
    rows = figures["cases"] + figures["peers"]
    assert all(row["images_per_second"]["median"] > 0 for row in rows)
    assert figures["memory"]["images"] > 0 and figures["memory"]["host"]["last_mb"] > 0
    assert figures["verdicts"]["to_training"] is None


def test_a_case_differs_from_the_reference_in_what_its_name_says() -> None:
    reference, *others = cases("cuda", False)
    assert reference.name == REFERENCE and reference.decode == "gpu"
    assert len({case.name for case in others}) == len(others) == 10
    for case in others:
        changed = [name for name in vars(case) if vars(case)[name] != vars(reference)[name]]
        assert "name" in changed and 1 <= len(changed) <= 3


def training_result(folder: Path, gpu: str, fastest: dict[str, object] | None) -> None:
    result = {"machine": {"device": {"gpu": gpu}}, "figures": {"fastest": fastest}}
    (folder / f"{TRAINING}.json").write_text(json.dumps(result))


def test_the_training_of_the_same_gpu_says_what_is_needed(tmp_path: Path) -> None:
    assert main.taken_in(tmp_path, GPU) is None
    training_result(tmp_path, GPU, None)
    assert main.taken_in(tmp_path, GPU) is None
    training_result(tmp_path, GPU, {"name": "kernels", "images_per_second": 4000.0})
    assert main.taken_in(tmp_path, GPU) == 4000.0
    assert main.taken_in(tmp_path, "NVIDIA H100") is None
    assert main.taken_in(tmp_path, None) is None


def row(name: str, rate: float, cpu_ms: float) -> dict[str, object]:
    return {
        "name": name,
        "images_per_second": {"median": rate},
        "cpu_milliseconds_per_image": cpu_ms,
    }


def test_verdicts_compare_the_reference() -> None:
    figures = {
        "training_images_per_second": 4000.0,
        "cases": [row(REFERENCE, 6200, 0.5), row(main.ON_CPU, 4500, 3.2)],
        "peers": [row("DALI alone", 6000, 0.4)],
    }
    found = main.verdicts(figures)
    assert found["to_training"] == 1.55 and found["is_met"]
    assert found["to DALI alone"] == 1.033 and found["to decoding alone"] is None
    # 312.5 images per CPU; 6,000 are wanted.
    assert found["cpus_that_feed_the_training"] == 20


def test_slope_is_of_the_settled_samples_and_has_an_error() -> None:
    # 50 MB at once, then 6 MB a minute.
    samples = [(float(t), 100.0 + 50 * (t > 5) + t / 10, 7.0) for t in range(101)]
    found = slope(samples, 1)
    assert found["mb_per_minute"] == pytest.approx(6) and found["standard_error"] == 0
    assert found["first_mb"] == 100 and found["most_mb"] == 160
    noisy = [(t, mb + (-1) ** int(t), 0.0) for t, mb, _ in samples]
    error = slope(noisy, 1)["standard_error"]
    assert error is not None and 0 < error < 1
    assert slope(samples[:2], 1)["mb_per_minute"] is None


@pytest.mark.parametrize(("seconds", "is_told"), [(60.0, True), (181.0, False)])
def test_a_short_watch_of_the_memory_names_the_long_one(seconds: float, is_told: bool) -> None:
    grown = {"mb_per_minute": 1.0, "standard_error": 0.1, "most_mb": 500.0}
    figures = {
        "is_smoke": False,
        "cases": [],
        "peers": [],
        "left_out": {},
        "failed": {},
        "verdicts": {},
        "memory": {"seconds": seconds, "host": grown, "device": None},
    }
    assert ("--memory-s 180 --budget-s 300" in main.text(figures)) is is_told


def test_what_fails_is_told_and_the_rest_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> Iterator[int]:
        raise RuntimeError("no such decoder")

    def endless(*_: object) -> Iterator[int]:
        while True:
            assert sum(range(100_000)) > 0  # an image costs something
            yield 1

    monkeypatch.setattr(main, "PEERS", {"broken": (broken, 1.0), "fine": (endless, 1.0)})
    monkeypatch.setattr(main, "batches", endless)
    words = ["--device", "cpu", "--smoke", "--out", str(tmp_path), "--tmp", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    assert main.main() == 1
    assert "failed: broken (no such decoder)" in capsys.readouterr().out
    figures = json.loads((tmp_path / "gpu-loading.json").read_text())["figures"]
    assert [row["name"] for row in figures["peers"]] == ["fine"]


def test_sharding_that_fails_ends_the_run_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails = [sys.executable, "-c", "import sys; print('gone', file=sys.stderr); sys.exit(7)"]
    monkeypatch.setattr(photographs, "shard_command", lambda *_: fails)
    words = ["--device", "cpu", "--smoke", "--out", str(tmp_path), "--tmp", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    assert main.main() == 4
    assert "no shards to load: shard.py ended with code 7: gone" in capsys.readouterr().err


def test_streams_are_measured_and_closed() -> None:
    closed: list[str] = []

    def stream(name: str) -> Iterator[int]:
        try:
            while True:
                yield 5
        finally:
            closed.append(name)

    found = lap(stream("lap"), "cpu", warm_up_s=0.0, window_s=0.01, windows=3)
    assert len(found["images_per_second"]["all"]) == 3
    kept = growth(stream("growth"), "cpu", seconds=0.05, every_s=0.01)
    assert kept["images"] % 5 == 0 and kept["images"] > 0 and kept["device"] is None
    assert closed == ["lap", "growth"]


def test_photographs_are_as_large_as_imagenets_and_always_the_same() -> None:
    files = [photograph(1, number) for number in range(60)]
    assert files[0] == photograph(1, 0) != photograph(2, 0)
    sizes = np.array([Image.open(io.BytesIO(file)).size for file in files])
    assert 0.7 < np.mean([len(file) for file in files]) / MEAN_BYTES < 1.3
    assert 150_000 < np.median(sizes.prod(axis=1)) < 220_000
