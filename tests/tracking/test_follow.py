"""The background uploader as a process: alive, killed, unreachable, orphaned."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from pipeline.tracking import tracker as tracker_module
from pipeline.tracking.journal import Journal, metric_values, read_journal
from pipeline.tracking.lifecycle import Process
from pipeline.tracking.run_folder import read_json, read_run_info, update_run_info
from pipeline.tracking.sync import sync_runs

NOWHERE = "http://127.0.0.1:9"


def wait_for(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)


def losses(folder):
    return sorted(
        (record["step"], record["t_ms"], metric_values(record)["train/loss"])
        for record in read_journal(folder.journal).records
        if "train/loss" in record.get("metrics", {})
    )


@pytest.fixture
def patient(monkeypatch):
    """A busy machine may take longer than a training would wait."""
    monkeypatch.setattr(tracker_module, "DRAIN_WAIT_S", 45.0)


def test_a_training_is_uploaded_while_it_runs_and_done_when_it_ends(folder, start, store, patient):
    tracker = start(uri=store.uri, system_every_s=0.2)
    for step in range(5):
        tracker.log({"train/loss": 1.0 - step / 10}, step)
    wait_for(lambda: store.runs() and store.history("train/loss"), "the first upload")
    assert store.only_run().info.status == "RUNNING"
    uploader = tracker._uploader
    assert os.getsid(uploader.pid) != os.getsid(0)  # Ctrl-C does not reach it
    os.kill(uploader.pid, signal.SIGTERM)  # as a scheduler does to every process of a job
    os.kill(uploader.pid, signal.SIGUSR2)
    tracker.log({"train/loss": 0.1}, 5)
    tracker.end("FINISHED")
    assert uploader.returncode == 0
    tracker.end("FAILED")  # the first word counts
    assert store.only_run().info.status == "FINISHED"
    assert store.history("train/loss") == losses(folder)
    assert "system/localhost/cpu_pct" in store.only_run().data.metrics
    assert tracker.link == "python -m pipeline.tracking open"
    assert "Traceback" not in folder.tracking_log.read_text()


TRAINING = """
import sys, time
from pathlib import Path
from pipeline.config import Config
from pipeline.tracking import open_tracker
from pipeline.world import World
run, uri, ends = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "ends"
config = Config.model_validate({"name": "digits", "tracking": {"uri": uri}})
tracker = open_tracker(run, config, World(), {})
for step in range(20):
    tracker.log({"train/loss": 1 / (1 + step)}, step)
print("logged", flush=True)
if not ends:
    time.sleep(1000)
tracker.log({"train/loss": 0.0}, 20)
tracker.end("FINISHED")
"""


def test_a_killed_training_is_lost_in_mlflow_until_it_runs_again(folder, store):
    command = [sys.executable, "-c", TRAINING, str(folder.path), store.uri]
    with subprocess.Popen([*command, "sleeps"], stdout=subprocess.PIPE) as training:
        assert training.stdout is not None
        training.stdout.readline()
        training.kill()
    wait_for(
        lambda: store.runs() and store.only_run().data.tags.get("state") == "lost", "state=lost"
    )
    assert store.only_run().info.status == "FAILED"
    assert len(store.history("train/loss")) == 20
    subprocess.run([*command, "ends"], check=True, stdout=subprocess.PIPE, timeout=60)
    wait_for(lambda: store.only_run().info.status == "FINISHED", "the second launch's end")
    run = store.only_run()
    assert (run.data.tags["state"], run.data.tags["launches"]) == ("finished", "2")
    assert store.history("train/loss") == losses(folder)
    assert len(store.history("train/loss")) == 21


def test_an_uploader_killed_in_the_middle_loses_and_doubles_nothing(folder, store):
    journal = Journal(folder.journal)
    update_run_info(
        folder.path, run_key="k", name="digits", experiment="imagenet", tracking_uri=store.uri
    )
    ourselves = Process.of(os.getpid())
    assert ourselves is not None
    journal.start({"process": ourselves.as_json()})
    for step in range(2500):
        journal.metrics({"train/loss": step / 7, "train/lr": 1e-3, "a": 1.0, "b": 2.0}, step)
        journal.system({f"system/a-node-with-a-long-name/{i}": 0.123456789 for i in range(5)}, step)
    size = folder.journal.stat().st_size
    folder.logs.mkdir()
    follow = [sys.executable, "-m", "pipeline.tracking", "follow", str(folder.path)]
    with subprocess.Popen([*follow, "--parent", str(os.getpid())]) as uploader:
        wait_for(folder.cursor.exists, "the first cursor")
        uploader.kill()
    assert read_json(folder.cursor)["offset"] < size
    journal.end("FINISHED", {})
    journal.close()
    (result,) = sync_runs([folder.path])
    assert (result.outcome, result.uri) == ("synced", store.uri)
    assert store.history("train/loss") == losses(folder)
    assert len(store.history("train/loss")) == 2500
    assert store.only_run().info.status == "FINISHED"


def test_an_unreachable_server_delays_nothing_and_a_later_sync_brings_all(
    folder, start, store, monkeypatch, capsys
):
    monkeypatch.setattr(tracker_module, "DRAIN_WAIT_S", 1.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:t0psecret-uri@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0psecret-token")
    began = time.monotonic()
    tracker = start(uri=None, facts={"remote": "https://me:t0psecret-fact@example.org/x.git"})
    for step in range(300):
        tracker.log({"train/loss": float(step)}, step)
    tracker.tags({"note": "see http://me:t0psecret-tag@host/"})
    tracker.end("FINISHED")
    assert time.monotonic() - began < 5
    shown = " ".join(capsys.readouterr().err.split())
    assert f"python -m pipeline.tracking sync {folder.path}" in shown
    assert tracker.link == NOWHERE
    wait_for(
        lambda: f"MLflow at {NOWHERE}: does not answer" in folder.tracking_log.read_text(),
        "a line in the log",
    )
    tracker._uploader.kill()
    tracker._uploader.wait()
    texts = {p.name: p.read_text() for p in folder.path.rglob("*") if p.is_file()}
    assert "127.0.0.1:9" in texts["run.json"]
    assert "example.org/x.git" in texts["journal.jsonl"]
    assert "Traceback" not in texts["tracking.log"]
    assert [name for name, text in texts.items() if "t0psecret" in text] == []
    (result,) = sync_runs([folder.path], store.uri)
    assert result.outcome == "synced"
    assert store.history("train/loss") == losses(folder)
    assert len(store.history("train/loss")) == 300


def test_a_real_server(folder, start, tmp_path, empty_store, patient):
    (tmp_path / "server").mkdir()
    database = tmp_path / "server" / "mlflow.db"
    database.write_bytes(empty_store.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    serve = ["server", "--backend-store-uri", f"sqlite:///{database}", "--port", str(port)]
    log = (tmp_path / "server.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *serve, "--workers", "1"],
        cwd=tmp_path / "server",
        stdout=log,
        stderr=log,
        env=os.environ
        | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    try:
        tracker = start(uri=uri)  # before the server answers: the uploader has to try again
        tracker.log({"train/loss": 0.5, "val/top1": float("nan")}, 1)
        wait_for(lambda: read_run_info(folder.path).get("mlflow_run_id"), "the server", 60)
        tracker.end("FINISHED")
        tracker_link, info = tracker.link, read_run_info(folder.path)
        folder.cursor.unlink()
        (result,) = sync_runs([folder.path])
        assert result.outcome == "synced"
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        run = client.get_run(info["mlflow_run_id"])
        assert run.info.status == "FINISHED"
        assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 1
        assert len(client.get_metric_history(run.info.run_id, "val/top1")) == 1
        assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["config.resolved.yaml"]
        experiment = info["mlflow_experiment_id"]
        assert tracker_link == f"{uri}/#/experiments/{experiment}/runs/{run.info.run_id}"
    finally:
        for process in [*psutil.Process(server.pid).children(recursive=True), server]:
            process.kill()
        server.wait()
        log.close()
