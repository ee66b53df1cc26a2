"""Stores that fail in every way there is: a training goes on, and nothing is lost or doubled."""

import os
import subprocess
import threading

import pytest

from pipeline.errors import PreflightError
from pipeline.tracking.run_folder import read_json, update_run_info
from pipeline.tracking.upload import follow as follow_module
from pipeline.tracking.upload.follow import _Follower
from pipeline.tracking.upload.sync import sync_runs
from tests.tracking.servers import Proxy
from tests.tracking.truth import check_store
from tests.tracking.waiting import PATIENCE_S, wait_for


class Training:
    """A training's process, as far as its uploader asks."""

    is_gone = False


class Upload:
    """The follower of ``folder`` in a thread, and what it says."""

    def __init__(self, folder):
        self.training, self.said = Training(), []
        self.result = None
        self._follower = _Follower(folder, self.training, self.said.append)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            self.result = self._follower.run()
        except PreflightError as error:
            self.result = str(error)

    def has_said(self, text):
        return sum(text in line for line in self.said)

    def wait_until(self, text):
        wait_for(lambda: self.has_said(text) or not self._thread.is_alive(), text)
        assert self.has_said(text), self.said

    def wait_for_tries(self, count):
        """Until as many more tries have failed."""
        goal = self._follower.failures + count
        wait_for(lambda: self._follower.failures >= goal, f"{count} failed tries")

    def wait_for_upload(self, folder):
        """Until all that is journaled now has been sent."""
        size = folder.journal.stat().st_size
        wait_for(lambda: read_json(folder.cursor).get("offset", 0) >= size, "the upload")

    def end(self):
        self.training.is_gone = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.result


@pytest.fixture
def proxy(team_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    proxy = Proxy(team_server.uri)
    yield proxy
    proxy.pass_on()
    proxy.down()


@pytest.fixture
def hasty(monkeypatch):
    """Pauses of an uploader that need not spare anybody."""
    for name in ("POLL_S", "UPLOAD_EVERY_S", "RETRY_FIRST_S", "RETRY_MOST_S"):
        monkeypatch.setattr(follow_module, name, 0.05)


@pytest.fixture
def upload(folder, start, hasty):
    """Start a training and its uploader to ``uri``; returns tracker and Upload."""
    begun = []

    def upload(uri):
        tracker = start()
        update_run_info(folder.path, tracking_uri=uri)
        begun.append(Upload(folder))
        return tracker, begun[-1]

    yield upload
    for one in begun:
        one.end()


def log(tracker, first, last):
    for step in range(first, last):
        tracker.log({"train/loss": 1 / (1 + step), "train/lr": 1e-3 * step}, step)


def test_a_day_of_troubles(folder, upload, proxy, team_server):
    """Down at first, slow, 403, 401, 500, silent, no MLflow, and killed: one after another."""
    tracker, uploader = upload(proxy.uri)
    tracker.dataset("digits", "train", "ab" * 32, 1437)
    uploader.wait_until("does not answer (Connection refused); will try again")
    uploader.wait_for_tries(3)
    proxy.up()
    uploader.wait_until("uploading to")
    step = 0
    for status in (403, 401, 500, 429, 404, 200):
        log(tracker, step, step + 20)
        proxy.status = status
        uploader.wait_for_tries(2)
        proxy.pass_on()
        log(tracker, step + 20, step := step + 40)
        uploader.wait_for_upload(folder)
    proxy.silent = True
    log(tracker, step, step := step + 40)
    uploader.wait_for_tries(1)
    proxy.pass_on()
    uploader.wait_for_upload(folder)
    team_server.kill()
    try:
        log(tracker, step, step := step + 40)
        uploader.wait_for_tries(1)
    finally:
        team_server.start()
    tracker.end("FINISHED")
    assert uploader.end() == 0, uploader.said
    assert check_store(folder, team_server.uri, "FINISHED", "finished") == step
    assert 8 <= len(uploader.said) <= 20  # each trouble once, however often it was tried


@pytest.mark.parametrize("trouble", ["down", "403"])
def test_an_end_in_the_middle_of_an_outage(
    folder, upload, proxy, team_server, trouble, monkeypatch
):
    monkeypatch.setattr(follow_module, "GIVE_UP_S", 0.5)
    tracker, uploader = upload(proxy.uri)
    proxy.up()
    log(tracker, 0, 50)
    uploader.wait_for_upload(folder)
    if trouble == "down":
        proxy.down()
    else:
        proxy.status = int(trouble)
    log(tracker, 50, 100)
    tracker.end("KILLED")
    assert "gave up; `python -m pipeline.tracking sync` goes on: MLflow at" in uploader.end()
    assert proxy.uri in uploader.end()
    (result,) = sync_runs([folder.path])
    assert (result.outcome, result.uri) == ("failed", proxy.uri)
    proxy.pass_on()
    proxy.down()
    proxy.up()
    (result,) = sync_runs([folder.path])
    assert (result.outcome, result.status) == ("synced", "KILLED")
    assert check_store(folder, team_server.uri, "KILLED", "killed") == 100


def test_answers_that_take_five_seconds_are_answers(
    folder, upload, proxy, team_server, monkeypatch
):
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    proxy.slow_s, proxy.slow_times = 5.0, 1
    proxy.up()
    tracker, uploader = upload(proxy.uri)
    log(tracker, 0, 50)
    tracker.end("REQUEUED")
    assert uploader.end() == 0
    assert proxy.slow_times == 0
    assert [line.partition(" to ")[0] for line in uploader.said] == ["uploading"]
    assert check_store(folder, team_server.uri, "RUNNING", "requeued") == 50


def test_runs_that_a_server_makes_too_late_do_not_stay(folder, upload, proxy, team_server):
    """The answers come after the uploader has asked again, and again."""
    proxy.silent_on = "runs/create"
    proxy.up()
    tracker, uploader = upload(proxy.uri)
    log(tracker, 0, 50)
    uploader.wait_for_tries(3)
    proxy.pass_on()
    uploader.wait_for_upload(folder)
    tracker.end("FINISHED")
    assert uploader.end() == 0
    assert check_store(folder, team_server.uri, "FINISHED", "finished") == 50


@pytest.fixture
def disk(tmp_path):
    """A disk of 8 MiB, which only root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk):
    """Take all that is left; returns the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 9, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return filler


def test_no_room_for_the_database(folder, upload, disk, empty_store):
    (disk / "mlflow.db").write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{disk}/mlflow.db"
    filler = fill(disk)
    tracker, uploader = upload(uri)
    log(tracker, 0, 1000)
    uploader.wait_for_tries(3)
    filler.unlink()
    uploader.wait_for_upload(folder)
    filler = fill(disk)
    log(tracker, 1000, 4000)
    uploader.wait_for_tries(3)
    filler.unlink()
    tracker.end("FINISHED")
    assert uploader.end() == 0, uploader.said
    assert check_store(folder, uri, "FINISHED", "finished") == 4000


def test_no_room_in_the_run_folder(folder, upload, disk, store):
    """Neither for run.json and the cursor, nor for the journal, whose records wait in memory."""
    folder.path.parent.mkdir(parents=True)
    (disk / "run").mkdir()
    folder.path.symlink_to(disk / "run")
    tracker, uploader = upload(store.uri)
    log(tracker, 0, 100)
    uploader.wait_for_upload(folder)
    filler = fill(disk)
    log(tracker, 100, 200)
    uploader.wait_until("No space left on device")
    log(tracker, 200, 300)
    filler.unlink()
    log(tracker, 300, 400)
    tracker.end("FINISHED")
    assert uploader.end() == 0, uploader.said
    assert check_store(folder, store.uri, "FINISHED", "finished") == 400


def test_a_run_folder_without_room_fails_the_sync_of_that_run_alone(folder, start, disk, store):
    folder.path.parent.mkdir(parents=True)
    (disk / "run").mkdir()
    folder.path.symlink_to(disk / "run")
    tracker = start()
    log(tracker, 0, 10)
    tracker.end("FAILED")
    filler = fill(disk)
    (failed,) = sync_runs([folder.path], store.uri)
    assert failed.outcome == "failed"
    assert "No space left on device" in str(failed.problem)
    filler.unlink()
    (result,) = sync_runs([folder.path], store.uri)
    assert result.outcome == "synced"
    assert check_store(folder, store.uri, "FAILED", "failed") == 10
