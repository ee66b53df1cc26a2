"""A shell that does not know its cluster is told so, and what to do about it."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from slurm.submit import partitions
from slurm.watch.lost_controller import not_found, silent

NO_SOURCE = "squeue: fatal: Could not establish a configuration source"
SILENT = "Unable to contact slurm controller (connect failure)"


def test_what_is_wrong_with_slurm_conf(tmp_path: Path) -> None:
    assert "SLURM_CONF is not set; set it, or ask" in str(not_found(NO_SOURCE, {}))
    conf = tmp_path / "slurm.conf"
    assert f"{conf}, which is no file; set it" in str(not_found("", {"SLURM_CONF": str(conf)}))
    conf.touch()
    assert not_found("", {"SLURM_CONF": str(conf)}) is None
    assert f"points to {conf}; set it" in str(not_found(NO_SOURCE, {"SLURM_CONF": str(conf)}))
    assert not_found("Invalid account", {}) is None


def test_a_known_controller_may_answer_later(tmp_path: Path) -> None:
    assert not_found(SILENT, {}) is None
    assert "try again" in str(silent(SILENT, {"SLURM_CONF": str(tmp_path)}))
    assert silent(NO_SOURCE, {}) is None


def test_sinfo_that_finds_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sinfo"
    program.write_text(f"#!/bin/sh\necho '{NO_SOURCE}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_CONF", raising=False)
    for cached in (partitions._sinfo, partitions.read_partitions):
        cached.cache_clear()
    try:
        assert partitions.read_partitions() is None
        error = partitions.no_partitions()
        assert isinstance(error, UserError) and "SLURM_CONF is not set" in str(error)
    finally:
        for cached in (partitions._sinfo, partitions.read_partitions):
            cached.cache_clear()
