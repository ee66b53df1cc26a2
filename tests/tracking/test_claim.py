"""A run goes on with the kernels that it was trained with, however they are asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.tracking import claim as claiming
from pipeline.tracking.claim import check_claim, claim
from pipeline.tracking.run_folder import RunFolder, read_run_info


def config_of(root: Path, kernels: str = "auto", **settings: Any) -> Config:
    model = {"kernels": kernels}
    return Config.model_validate({"runs_root": str(root), "model": model, **settings})


def trained(root: Path, kernels: str, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of model.kernels=auto on a machine where that is ``kernels``."""
    choose_as(kernels, monkeypatch)
    return claim(config_of(root), [])


def choose_as(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "choose_kernels", lambda config: kernels)


@pytest.mark.parametrize(("before", "now"), [("torch", "triton"), ("triton", "torch")])
def test_another_machines_kernels_are_refused(
    before: str, now: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(tmp_path, before, monkeypatch)
    assert read_run_info(folder.path)["kernels"] == before
    choose_as(now, monkeypatch)
    said = rf"trained with model\.kernels={before}.*auto is {now} here.*set model\.kernels={before}"
    with pytest.raises(UserError, match=said):
        claim(config_of(tmp_path), [])
    assert read_run_info(folder.path)["kernels"] == before
    # The remedy: the same kernels, asked for in words.
    choose_as(before, monkeypatch)
    assert check_claim(config_of(tmp_path, before)) == folder
    assert claim(config_of(tmp_path, before), []) == folder
    assert claim(config_of(tmp_path), []) == folder


def test_a_run_without_the_record_was_pytorchs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(tmp_path, "torch", monkeypatch)
    known = read_run_info(folder.path)
    del known["kernels"]
    folder.info.write_text(json.dumps(known))
    choose_as("triton", monkeypatch)
    with pytest.raises(UserError, match=r"trained with model\.kernels=torch"):
        claim(config_of(tmp_path), [])
    choose_as("torch", monkeypatch)
    assert claim(config_of(tmp_path), []) == folder


def test_before_the_node_has_spoken_only_words_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(tmp_path, "torch", monkeypatch)
    choose_as("triton", monkeypatch)
    assert check_claim(config_of(tmp_path)) == folder
    with pytest.raises(UserError, match=r"and model\.kernels=triton: the losses would differ"):
        check_claim(config_of(tmp_path, "triton"))


def test_a_new_run_takes_whatever_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained(tmp_path, "triton", monkeypatch)
    assert read_run_info(folder.path)["kernels"] == "triton"


def test_other_settings_are_refused_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path, "torch", monkeypatch)
    with pytest.raises(UserError, match=r"another config:\n  engine\.compile: false -> true\n"):
        check_claim(config_of(tmp_path, "torch", engine={"compile": True}))
