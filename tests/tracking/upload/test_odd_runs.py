"""Odd runs, copied runs and silent ones: each costs itself at most, and ends up as it is."""

import json
import shutil

import pytest

from pipeline.tracking import RunFolder, read_run_info
from pipeline.tracking import lifecycle as lifecycle_module
from pipeline.tracking.upload import follow as follow_module
from pipeline.tracking.upload import sync as sync_module
from pipeline.tracking.upload.cursor import Cursor
from pipeline.tracking.upload.follow import _Follower
from pipeline.tracking.upload.mlflow_store import NOTE_TAG
from pipeline.tracking.upload.sync import sync_runs
from pipeline.tracking.upload.uploader import NOTE_DIGEST_TAG, Uploader
from tests.tracking.made_run import BEGAN_MS


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "start", "step": 0},
        {"kind": "start", "t_ms": 1, "step": 0, "process": {"host": "x"}},
        {"kind": "start", "t_ms": 1, "step": 0, "process": {"pid": 1, "started_s": "?"}},
    ],
)
def test_a_damaged_start_is_skipped(record, made, store, capsys):
    text = made.folder.journal.read_text()
    made.folder.journal.write_text(json.dumps(record) + "\n" + text)
    made.write(record)
    made.steps(1, 3)
    assert len(made.synced(store.uri).history("train/loss")) == 2
    assert "skipped 2 damaged lines" in capsys.readouterr().err


def test_values_at_the_ends_of_what_doubles_hold(made, store):
    for step, value in enumerate((1.7e308, -1.7e308, 5e-324)):
        made.journal.metrics({"train/loss": value, "val/top1": 5e-324}, step)
    made.end()
    assert "curves/loss.svg" in made.synced(store.uri).artifacts()


@pytest.mark.parametrize(
    "change",
    [
        {"later_field": 1},
        {"files": [1]},
        {"files": {"a": {"size": 3}}},
        {"offset": "x"},
        {"offset": -5},
        {"models": None},
    ],
)
def test_an_odd_cursor_is_a_fresh_one(change, tmp_path, capsys):
    path, journal = tmp_path / "cursor.json", tmp_path / "journal.jsonl"
    journal.write_text("x\n")
    kept = Cursor("uri", "run", models={"a": "b"})
    kept.move(journal, 2)
    kept.write(path)
    assert Cursor.read(path, "uri", "run", journal) == kept
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert Cursor.read(path, "uri", "run", journal) == Cursor("uri", "run")
    assert "all is sent again" in capsys.readouterr().err


def test_a_bug_costs_the_run_that_brings_it_out_alone(made, store, tmp_path, monkeypatch):
    upload = sync_module._upload

    def stumble(folder, uri):
        if folder.path.name == "odd":
            raise ZeroDivisionError("of http://me:pw@host/")
        return upload(folder, uri)

    monkeypatch.setattr(sync_module, "_upload", stumble)
    odd = shutil.copytree(made.folder.path, tmp_path / "runs" / "odd")
    bad, good = sync_runs([odd, made.folder.path], store.uri)
    assert (bad.outcome, good.outcome) == ("failed", "synced")
    assert bad.problem is not None and "in stumble" in bad.problem
    assert "ZeroDivisionError: of http://host/" in bad.problem


def test_the_follower_goes_on_after_a_bug(made, store, monkeypatch):
    monkeypatch.setattr(follow_module, "POLL_S", 0.0)
    monkeypatch.setattr(follow_module, "UPLOAD_EVERY_S", 0.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    upload, bugs = Uploader.upload, [ZeroDivisionError("once")]

    def stumble(self):
        if bugs:
            raise bugs.pop()
        return upload(self)

    monkeypatch.setattr(Uploader, "upload", stumble)
    made.steps(0, 5)
    made.end()
    said = []
    assert _Follower(made.folder, None, said.append).run() == 0
    assert any("ZeroDivisionError: once" in line and "in stumble" in line for line in said)
    assert len(made.stored(store.uri).history("train/loss")) == 5


def test_a_note_without_our_mark_is_a_persons(made, store):
    stored = made.synced(store.uri)
    # As a run is that an earlier version has uploaded, which wrote no notes.
    stored.client.delete_tag(stored.run_id, NOTE_DIGEST_TAG)
    stored.client.set_tag(stored.run_id, NOTE_TAG, "the baseline")
    made.end()
    assert made.synced(store.uri).tags[NOTE_TAG] == "the baseline"


def test_a_silent_run_of_another_host_is_lost_until_it_writes_again(made, store, monkeypatch):
    now_ms = [BEGAN_MS]
    monkeypatch.setattr(lifecycle_module, "now_ms", lambda: now_ms[0])
    made.journal.settings({"tracking.system_every_s": "10.0"})
    stored = made.synced(store.uri)
    assert (stored.run.info.status, stored.tags["state"]) == ("RUNNING", "running")
    now_ms[0] += 1_000_000
    stored = made.synced(store.uri)
    assert (stored.run.info.status, stored.tags["state"]) == ("FAILED", "lost")
    assert "| state | lost |" in stored.tags[NOTE_TAG]
    now_ms[0] = BEGAN_MS
    made.steps(1, 2)
    stored = made.synced(store.uri)
    assert (stored.run.info.status, stored.tags["state"]) == ("RUNNING", "running")
    assert "| state | running |" in stored.tags[NOTE_TAG]


def test_a_copied_run_that_trains_on_is_a_run_of_its_own(folder, start, store, tmp_path, capsys):
    tracker = start()
    tracker.log({"train/loss": 1.0}, 1)
    tracker.end("REQUEUED")
    sync_runs([folder.path], store.uri)
    copy = RunFolder(shutil.copytree(folder.path, tmp_path / "runs" / "copy"))
    for name in ("digits", "copy", "copy"):
        tracker = start(path=tmp_path / "runs" / name)
        tracker.log({"train/loss": 2.0}, 2)
        tracker.end("FINISHED")
    assert capsys.readouterr().err.count("run copy: its folder was digits") == 1
    ids, keys = set(), set()
    for path in (folder.path, copy.path):
        (result,) = sync_runs([path], store.uri)
        ids.add(result.mlflow_run_id)
        keys.add(read_run_info(path)["run_key"])
        points = store.client.get_metric_history(result.mlflow_run_id, "train/loss")
        assert [point.step for point in points] == [1, 2]
    assert (len(ids), len(keys)) == (2, 2)


def test_syncing_a_copy_that_has_not_trained_doubles_nothing(folder, start, store, tmp_path):
    tracker = start()
    tracker.log({"train/loss": 1.0}, 1)
    tracker.end("FINISHED")
    copy = shutil.copytree(folder.path, tmp_path / "runs" / "copy")
    assert [result.outcome for result in sync_runs([folder.path, copy], store.uri)] == [
        "synced",
        "synced",
    ]
    assert len(store.history("train/loss")) == 1
