"""What training sees, and what must never be written down."""

import json
import subprocess
import sys
import time

import pytest

from pipeline.errors import UserError
from pipeline.tracking import read_run_info
from pipeline.tracking.journal import read_journal
from pipeline.world import World


def kinds(folder):
    return [record["kind"] for record in read_journal(folder.journal).records]


def test_the_main_rank_writes_what_the_run_is(folder, start):
    tracker = start(facts={"python": "3.13.0"}, world=World(0, 4, 0, 2, attempt=2, node_name="n1"))
    tracker.dataset("digits", "train", "ab" * 32, 1437)
    tracker.dataset("digits", "train", "ab" * 32, 1437)
    tracker.log({"train/loss": 1.0}, 3)
    tracker.end("FINISHED", {"best_top1": 98.5})
    assert kinds(folder) == ["start", "params", "tags", "dataset", "metrics", "end"]
    start_record, _, tags, _, _, end = read_journal(folder.journal).records
    assert start_record["attempt"] == 2
    assert {
        "python": "3.13.0",
        "world_size": "4",
        "nodes": "2",
        "host": "n1",
        "attempt": "2",
        "launches": "1",
    }.items() <= tags["tags"].items()
    assert (end["status"], end["summary"], end["step"]) == ("FINISHED", {"best_top1": 98.5}, 3)
    info = read_run_info(folder.path)
    assert (info["name"], info["experiment"]) == ("digits", "imagenet")


def test_the_run_key_is_made_once(folder, start):
    keys = set()
    for _ in range(3):
        start().end("REQUEUED")
        keys.add(read_run_info(folder.path)["run_key"])
    assert len(keys) == 1
    assert kinds(folder).count("params") == 1


def test_other_ranks_write_nothing(folder, start):
    tracker = start(uri="sqlite:///mlflow.db", world=World(1, 2, 1, 2))
    tracker.log({"train/loss": 1.0}, 1)
    tracker.tags({"a": "b"})
    tracker.dataset("digits", "train", "ab", 1)
    tracker.end("FINISHED")
    assert tracker.link is None
    assert [path.name for path in folder.path.iterdir()] == ["config.resolved.yaml"]


def test_an_unusable_address_fails_on_every_rank_alike(start):
    for rank in (0, 1):
        with pytest.raises(UserError, match="file:///x"):
            start(uri="file:///x", world=World(rank, 2, rank, 2))


def test_a_slurm_job_without_a_server_keeps_the_journal_and_says_how_to_upload(
    folder, start, capsys, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = start(uri=None, world=World(job_id="17"))
    tracker.end("REQUEUED")
    command = f"python -m pipeline.tracking sync {folder.path}"
    assert command in " ".join(capsys.readouterr().err.split())
    assert tracker.link == command
    assert "tracking_uri" not in read_run_info(folder.path)
    assert not folder.tracking_log.exists()


def test_the_machine_is_sampled_with_at_most_six_numbers(folder, start):
    tracker = start(system_every_s=0.05)
    tracker.log({"train/loss": 1.0}, 8)
    time.sleep(0.5)
    tracker.end("FINISHED")
    samples = [r for r in read_journal(folder.journal).records if r["kind"] == "system"]
    assert len(samples) >= 2
    assert samples[-1]["step"] == 8
    values = samples[-1]["metrics"]
    assert len(values) <= 6
    assert {f"system/localhost/{name}" for name in ("cpu_pct", "rss_mib", "memory_pct")} <= set(
        values
    )
    assert 5 < values["system/localhost/rss_mib"] < 100_000
    assert 0 < values["system/localhost/memory_pct"] < 100
    # end() comes last, or the sampler would write into a run that is over.
    assert kinds(folder)[-1] == "end"


def test_training_imports_neither_mlflow_nor_torch():
    program = (
        "import sys, json, pipeline.tracking, pipeline.compare, pipeline.compare.__main__\n"
        "print(json.dumps([name for name in ('mlflow', 'torch', 'sqlalchemy', 'deepspeed') "
        "if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stdout) == []
