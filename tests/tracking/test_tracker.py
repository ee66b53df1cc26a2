"""What training sees, and what must never be written down."""

import json
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from pipeline.errors import UserError
from pipeline.tracking import read_run_info
from pipeline.tracking import tracker as tracker_module
from pipeline.tracking.journal import read_journal
from pipeline.tracking.origin import Origin, write_origin
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
    world = {key: start_record[key] for key in ("world_size", "nodes", "device")}
    assert world == {"world_size": 4, "nodes": ["n1"], "device": "cuda"}
    assert {
        "python": "3.13.0",
        "world_size": "4",
        "nodes": "2",
        "host": "n1",
        "attempt": "2",
        "launches": "1",
        "node_list": "n1",
        "seed": "42",
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
    tracker.model(1, folder.checkpoints / "step-00000001")
    tracker.artifact("batch.png", lambda: pytest.fail("made on a rank that does not write it"))
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


def test_what_a_run_has_cost_is_added_to_every_step(folder, start, monkeypatch):
    clock = iter([100.0, 1900.0, 5000.0, 5900.0])
    monkeypatch.setattr(tracker_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    first = start(world=World(0, 4, 0, 2))
    first.log({}, 1)
    first.log({"val/top1": 5.0}, 2)
    first.end("REQUEUED")
    lines = [json.loads(line) for line in folder.journal.read_text().splitlines()]
    for record in lines[1:]:
        record["t_ms"] = lines[0]["t_ms"] + 3_600_000
    folder.journal.write_text("".join(json.dumps(record) + "\n" for record in lines))
    second = start(world=World(0, 2, 0, 2))
    second.log({"train/loss": 1.0}, 3)
    second.end("FINISHED")
    written = [r for r in read_journal(folder.journal).records if r["kind"] == "metrics"]
    assert [(r["step"], r["metrics"]) for r in written] == [
        (2, {"val/top1": 5.0, "progress/gpu_hours": 2.0}),
        (3, {"train/loss": 1.0, "progress/gpu_hours": 4.0 + 0.5}),
    ]


def test_launches_add_up_to_the_runs_tags(folder, start):
    cases = (("812", 0, 8, 0), ("812", 1, 4, 1200), ("815", 0, 4, 1200))
    for job, attempt, size, step in cases:
        world = World(0, size, 0, 4, attempt=attempt, job_id=job, node_name=f"n{size}")
        tracker = start(world=world)
        tracker.resumed(step)
        tracker.log({"train/loss": 1.0}, 1208)
        tracker.end("REQUEUED")
    tags = {}
    for record in read_journal(folder.journal).records:
        tags |= record.get("tags", {})
    assert {
        "job_ids": "812, 815",
        "node_list": "n8, n4",
        "world_sizes": "8 from step 0, 4 from step 1200",
        "requeues": "1",
        "launches": "3",
        "resumed_from_step": "1200",
    }.items() <= tags.items()


def test_a_model_is_of_the_split_that_is_evaluated(folder, start):
    tracker = start()
    tracker.dataset("digits", "validation", "ab" * 32, 355)
    tracker.dataset("digits", "train", "cd" * 32, 1442)
    tracker.log({"val/top1": 9.0}, 22)
    tracker.model(22, folder.checkpoints / "step-00000022")
    tracker.end("FINISHED")
    model = next(r for r in read_journal(folder.journal).records if r["kind"] == "model")
    assert model["model"]["folder"] == "checkpoints/step-00000022"
    assert model["model"]["dataset"] == "digits-validation"


def test_a_launch_leaves_what_it_runs_on_beside_the_journal(folder, start, tmp_path, monkeypatch):
    code = tmp_path / "code/0123456789ab"
    (code / "pipeline").mkdir(parents=True)
    (code / "requirements.lock").write_text("torch==2.9.0\n")
    write_origin(code, Origin("c0ffee", True, "+print()\n", "0123456789ab"))
    monkeypatch.setattr("pipeline.__file__", str(code / "pipeline/__init__.py"))
    start().end("FINISHED")
    files = [path for path in folder.artifacts.rglob("*") if path.is_file()]
    found = {path.relative_to(folder.artifacts).as_posix(): path.read_text() for path in files}
    assert found.keys() == {"environment.txt", "code/launch-1.diff", "requirements.lock"}
    assert found["code/launch-1.diff"] == "+print()\n"
    assert found["requirements.lock"] == "torch==2.9.0\n"
    lines = found["environment.txt"].splitlines()
    assert f"# python: {platform.python_version()}" in lines
    assert f"torch=={version('torch')}" in lines
    tags = next(r for r in read_journal(folder.journal).records if r["kind"] == "tags")["tags"]
    assert (tags["git_commit"], tags["git_dirty"], tags["snapshot"]) == (
        "c0ffee",
        "true",
        "0123456789ab",
    )


def test_each_launch_keeps_its_own_diff(folder, start, tmp_path, monkeypatch):
    code = tmp_path / "code/0123456789ab"
    (code / "pipeline").mkdir(parents=True)
    monkeypatch.setattr("pipeline.__file__", str(code / "pipeline/__init__.py"))
    for diff in ("+first\n", "", "+third\n"):
        write_origin(code, Origin("c0ffee", bool(diff), diff, "0123456789ab"))
        start().end("REQUEUED")
    found = {path.name: path.read_text() for path in (folder.artifacts / "code").iterdir()}
    assert found == {"launch-1.diff": "+first\n", "launch-3.diff": "+third\n"}


def test_a_failures_reason_is_journaled_without_passwords(folder, start):
    reason = "cannot reach https://bob:hun/ter2@proxy/x"
    start().end("FAILED", {"error": reason, "best_top1": 5.0})
    end = read_journal(folder.journal).records[-1]
    assert end["summary"] == {"error": "cannot reach https://proxy/x", "best_top1": 5.0}


@pytest.mark.parametrize("kind", [MemoryError, OSError, RuntimeError, ValueError])
def test_an_artifact_that_cannot_be_made_ends_no_training(folder, start, capsys, kind):
    def fail():
        raise kind("too large")

    tracker = start()
    for _ in range(2):
        tracker.artifact("classes.csv", fail)
    tracker.artifact("batch.png", lambda: b"picture")
    tracker.end("FINISHED")
    said = " ".join(capsys.readouterr().err.split())
    assert said.count(f"cannot be made ({kind.__name__}: too large)") == 1
    assert (folder.artifacts / "batch.png").read_bytes() == b"picture"


def test_a_disk_that_refuses_artifacts_is_warned_of_once(folder, start, capsys):
    folder.artifacts.parent.mkdir(parents=True)
    folder.artifacts.write_text("no folder")
    tracker = start()
    tracker.artifact("batch.png", lambda: b"picture")
    tracker.log({"train/loss": 1.0}, 1)
    tracker.end("FINISHED")
    assert capsys.readouterr().err.count("cannot be written") == 1
    assert kinds(folder)[-2:] == ["metrics", "end"]


def test_training_imports_neither_mlflow_nor_torch():
    program = (
        "import sys, json, pipeline.tracking, pipeline.compare, pipeline.compare.__main__\n"
        "print(json.dumps([name for name in ('mlflow', 'torch', 'sqlalchemy', 'deepspeed') "
        "if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stdout) == []


def test_what_the_uploader_said_last_is_told(tmp_path):
    log = tmp_path / "tracking.log"
    assert tracker_module._last_said(log) == f" (log: {log})"
    log.write_text("uploading to http://host\nhttp://host: does not answer; will try again\n")
    said = tracker_module._last_said(log)
    assert said == f" (log: {log}, ending: http://host: does not answer; will try again)"
