"""Packages, CUDA builds and the driver: what fits, and what does not."""

import importlib.metadata
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Config
from slurm.doctor.subject import Expected, Subject, read_expected
from slurm.doctor.versions import (
    builds_verdict,
    driver_verdict,
    installed_builds,
    packages,
    packages_verdict,
    python,
)

ROOT = Path(__file__).resolve().parents[3]
EXPECTED = Expected(
    python=">=3.11",
    requirements=("torch>=2.8", "Nvidia_ml-py>=12", "pyyaml>=6"),
    locked=("torch==2.14.1", "nvidia-ml-py==13.0", "pyyaml==6.0 ; python_version < '3'", "x==1"),
)
INSTALLED = {
    "torch": "2.14.1",
    "nvidia-ml-py": "13.0",
    "pyyaml": "6.1",
    "nvidia-dali-cuda130": "2.4.0",
}


def test_this_environment_fits() -> None:
    subject = Subject(Config(), "here", expected=read_expected(ROOT))
    assert python(subject).state == "ok"
    verdict = packages(subject)
    assert verdict is not None and verdict.state == "ok", verdict
    assert "packages fit pyproject.toml" in verdict.reason


def test_another_python_is_refused() -> None:
    subject = Subject(Config(), "here", expected=replace(EXPECTED, python=">=3.99"))
    verdict = python(subject)
    assert (verdict.state, platform.python_version() in verdict.reason) == ("fail", True)


def test_where_the_project_has_no_files_packages_are_left_out(tmp_path: Path) -> None:
    assert read_expected(tmp_path) is None
    assert packages(Subject(Config(), "here")) is None


@pytest.mark.parametrize(
    ("changed", "state", "part"),
    [
        ({}, "ok", "4 packages fit pyproject.toml and the lock"),
        ({"torch": "2.9.0"}, "ok", "other than in the lock: torch 2.9.0 (2.14.1)"),
        ({"torch": "2.7.1"}, "fail", "torch 2.7.1 (>=2.8)"),
        ({"pyyaml": None}, "fail", "pyyaml is missing"),
        ({"nvidia-dali-cuda130": None}, "fail", "nvidia-dali-cuda130 is missing"),
        ({"nvidia-dali-cuda130": None, "nvidia-dali-cuda120": "2.0"}, "ok", "fit pyproject"),
    ],
)
def test_packages_against_ranges_and_lock(
    changed: dict[str, str | None], state: str, part: str
) -> None:
    installed = {name: v for name, v in (INSTALLED | changed).items() if v is not None}
    verdict = packages_verdict(EXPECTED, installed)
    assert verdict.state == state and part in verdict.reason, verdict
    assert bool(verdict.remedy) == (state == "fail")


def test_the_builds_are_those_that_are_installed() -> None:
    torch = importlib.metadata.version("torch")
    builds = installed_builds()
    assert set(builds) == {"torch", "DALI"} and builds["DALI"] in (12, 13)
    assert builds["torch"] in (None, 12, 13), torch


@pytest.mark.parametrize(
    ("builds", "state"),
    [
        ({"torch": 13, "DALI": 13}, "ok"),
        ({"torch": 12, "DALI": 13}, "warn"),
        ({"torch": None, "DALI": 13}, "fail"),
    ],
)
def test_builds_of_one_cuda(builds: dict[str, int | None], state: str) -> None:
    assert builds_verdict(builds).state == state


@pytest.mark.parametrize(
    ("driver", "builds", "reason"),
    [
        ("580.65.06", {"torch": 13, "DALI": 13}, None),
        ("610.10", {"torch": 13, "DALI": 13}, None),
        ("580.65.05", {"torch": 13, "DALI": 13}, "torch for CUDA 13 needs 580.65.06"),
        ("535.183.01", {"torch": 12, "DALI": 12}, None),
        ("535.183.01", {"torch": 12, "DALI": 13}, "too old: DALI for CUDA 13 needs 580.65.06"),
        ("470.256.02", {"torch": 12, "DALI": 12}, "torch for CUDA 12 needs 525.60.13"),
    ],
)
def test_the_driver_against_the_builds(
    driver: str, builds: dict[str, int | None], reason: str | None
) -> None:
    verdict = driver_verdict(driver, builds)
    assert verdict.state == ("fail" if reason else "ok")
    assert (reason or "is new enough for torch and DALI") in verdict.reason


def test_the_readme_names_the_same_drivers() -> None:
    text = (ROOT / "README.md").read_text()
    for builds in ({"torch": 13}, {"torch": 12}):
        needed = driver_verdict("1.0", builds).reason.split(" needs ")[1].split()[0]
        assert needed in text
