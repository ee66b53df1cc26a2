"""Queueing a job again, as far as Slurm lets it; its commands are scripts of the test's."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.tracking.run_folder import RunFolder
from slurm.aftermath.evidence import Attempt
from slurm.aftermath.requeue import queue_again


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What was typed. scontrol refuses to requeue, with $REFUSAL, and dies of its first update,
    as of the signal that ends a job's processes; sbatch refuses."""
    typed = tmp_path / "typed"
    for name, program in {
        "scontrol": 'case "$1" in\n'
        'requeue) echo "$REFUSAL" >&2; exit 1;;\n'
        f"update) [ $(grep -c update {typed}) -gt 1 ] || kill -TERM $$;;\nesac",
        "sbatch": "exit 1",
    }.items():
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\necho {name} "$@" >>{typed}\n{program}\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    before = signal.getsignal(signal.SIGTERM)
    yield typed
    signal.signal(signal.SIGTERM, before)


def test_a_job_that_slurm_has_queued_itself_gets_no_second_one(
    said: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a lost node: the script may outlive its own end by a moment."""
    monkeypatch.setenv("REFUSAL", "Job is pending execution for job 7")
    queue_again(RunFolder(tmp_path), Attempt("7", "7", 0), ["n2"])
    assert said.read_text().splitlines() == [
        "scontrol --oneliner show job 7",
        "scontrol requeue 7",
        "scontrol update JobId=7 ExcNodeList=n2",
        "scontrol update JobId=7 ExcNodeList=n2",
    ]


def test_where_slurm_refuses_it_is_submitted_anew(
    said: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUSAL", "Requested operation is presently disabled for job 7")
    with pytest.raises(PipelineError, match="could not be submitted again"):
        queue_again(RunFolder(tmp_path), Attempt("7", "7", 0), [])
    assert "sbatch --parsable --hold --dependency=afterany:7" in said.read_text()
