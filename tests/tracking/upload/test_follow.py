"""The background uploader as a process: alive, killed, unreachable, orphaned."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.tracking import tracker as tracker_module
from pipeline.tracking.journal import metric_values, read_journal
from pipeline.tracking.run_folder import read_run_info
from pipeline.tracking.upload.scheduling import step_forward
from pipeline.tracking.upload.sync import sync_runs
from tests.tracking.servers import Proxy
from tests.tracking.truth import check_store, the_run
from tests.tracking.waiting import wait_for

NOWHERE = "http://127.0.0.1:9"
# Another one each time: a copy of this file in code.diff must not hold it.
CANARY = secrets.token_hex()


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


@pytest.fixture
def late_server(team_server):
    """Nobody answers there yet."""
    proxy = Proxy(team_server.uri)
    yield proxy
    proxy.down()


def test_a_training_is_uploaded_while_it_runs_and_done_when_it_ends(
    folder, start, late_server, team_server, patient
):
    tracker = start(uri=late_server.uri, system_every_s=0.2)
    uploader = tracker._uploader
    assert os.getsid(uploader.pid) == uploader.pid  # Ctrl-C does not reach it
    for step in range(5):
        tracker.log({"train/loss": 1.0 - step / 10}, step)
    wait_for(lambda: "Connection refused" in folder.tracking_log.read_text(), "the first try")
    assert tracker.link == late_server.uri
    late_server.up()
    wait_for(folder.cursor.exists, "the first upload")
    assert the_run(folder, team_server.uri).info.status == "RUNNING"
    os.kill(uploader.pid, signal.SIGTERM)  # as a scheduler does to every process of a job
    os.kill(uploader.pid, signal.SIGUSR2)
    tracker.log({"train/loss": 0.1, "val/top1": float("nan")}, 5)
    tracker.end("FINISHED")
    assert uploader.returncode == 0
    tracker.end("FAILED")  # the first word counts
    assert check_store(folder, team_server.uri, "FINISHED", "finished") == 6
    assert "system/localhost/cpu_pct" in the_run(folder, team_server.uri).data.metrics
    known = read_run_info(folder.path)
    experiment, run_id = known["mlflow_experiment_id"], known["mlflow_run_id"]
    assert tracker.link.startswith(f"{late_server.uri}/#/experiments/{experiment}/runs/{run_id}")
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


def test_an_unreachable_server_delays_nothing_and_a_later_sync_brings_all(
    folder, start, store, monkeypatch, capsys
):
    monkeypatch.setattr(tracker_module, "DRAIN_WAIT_S", 1.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{CANARY}@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", CANARY)
    began = time.monotonic()
    tracker = start(uri=None, facts={"remote": f"https://me:{CANARY}@example.org/x.git"})
    for step in range(300):
        tracker.log({"train/loss": float(step)}, step)
    tracker.tags({"note": f"see http://me:{CANARY}@host/"})
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
    texts = {p.name: p.read_text(errors="replace") for p in folder.path.rglob("*") if p.is_file()}
    assert "127.0.0.1:9" in texts["run.json"]
    assert "example.org/x.git" in texts["journal.jsonl"]
    assert "Traceback" not in texts["tracking.log"]
    assert [name for name, text in texts.items() if CANARY in text] == []
    (result,) = sync_runs([folder.path], store.uri)
    assert result.outcome == "synced"
    assert store.history("train/loss") == losses(folder)
    assert len(store.history("train/loss")) == 300


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="not Linux")
@pytest.mark.parametrize("in_own_session", [True, False])
def test_an_uploader_takes_idle_time_until_the_training_ends(in_own_session):
    """Its session goes with it where it is its own, and is left alone where it is a shell's."""
    code = (
        "from pipeline.tracking.upload.scheduling import step_back; step_back(); print(); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=in_own_session,
    ) as process:
        process.stdout.readline()
        group = Path(f"/proc/{process.pid}/autogroup")
        # Other users may not undo it, nor change a group twice in a tenth of a second.
        is_root = os.geteuid() == 0
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        if is_root and group.exists():
            assert ("nice 19" in group.read_text()) == in_own_session
        step_forward(process.pid)
        if is_root:
            assert os.sched_getscheduler(process.pid) == os.SCHED_OTHER
        if is_root and group.exists():
            assert "nice 19" not in group.read_text()
        process.communicate(b"\n")
    step_forward(process.pid)  # gone: nothing happens
