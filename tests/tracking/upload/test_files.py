"""Artifacts: the files of a run in MLflow, which metrics never wait for."""

import math
import os
import xml.etree.ElementTree as ET

import pytest

from pipeline.tracking import update_run_info
from pipeline.tracking.store_uri import StoreUri
from pipeline.tracking.upload import files as files_module
from pipeline.tracking.upload.batch import Point
from pipeline.tracking.upload.cursor import Cursor
from pipeline.tracking.upload.curves import pictures
from pipeline.tracking.upload.facts import RunFacts
from pipeline.tracking.upload.files import CURVES_EVERY_S, RunFiles
from pipeline.tracking.upload.mlflow_store import MlflowStore, StoreRefused, StoreUnavailable
from pipeline.tracking.upload.uploader import Uploader

CURVES = ["accuracy", "learning_rate", "loss"]


def put(folder, name, content):
    path = folder.artifacts / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_files_arrive_redacted_and_pictures_as_they_are(made, any_uri, tmp_path):
    picture = b"\x89PNG\r\n" + bytes(range(256))
    put(made.folder, "batch.png", picture)
    diff = "code/launch-1.diff"
    put(made.folder, diff, "+ uri = 'http://me:t0psecret@host/é'\n".encode())
    put(made.folder, "last/classes.csv", b"caf\xe9 http://me:t0psecret@host\n")
    put(made.folder, ".half.csv.1-ab.tmp", b"half")
    (tmp_path / "secret").write_text("of another folder")
    (made.folder.artifacts / "link").symlink_to(tmp_path / "secret")
    made.folder.config.write_text("tracking:\n  uri: https://me:t0psecret@host\n")
    made.steps(1, 23)
    made.evaluated(22, 40.0)
    made.end()
    stored = made.synced(any_uri)
    curves = [f"curves/{name}.svg" for name in CURVES]
    expected = ["batch.png", diff, "config.resolved.yaml", *curves, "last/classes.csv"]
    assert stored.artifacts() == sorted(expected)
    assert stored.artifact("batch.png") == picture
    assert stored.artifact(diff).decode() == "+ uri = 'http://host/é'\n"
    assert stored.artifact("last/classes.csv") == b"caf\xe9 http://host\n"
    assert b"t0psecret" not in stored.artifact("config.resolved.yaml")
    drawn = ET.fromstring(stored.artifact("curves/loss.svg"))
    told = " ".join(drawn.itertext())
    assert "train/loss" in told
    assert "val/loss" in told


def test_only_what_has_changed_is_sent_again(made, store, monkeypatch):
    sent = []
    log_file = MlflowStore.log_file

    def log_and_tell(self, run_id, content, path):
        log_file(self, run_id, content, path)
        sent.append(path)

    monkeypatch.setattr(MlflowStore, "log_file", log_and_tell)
    put(made.folder, "a.csv", b"1")
    path = put(made.folder, "b.csv", b"2")
    made.evaluated(22, 40.0)
    made.end()
    made.synced(store.uri)
    assert {"a.csv", "b.csv", "curves/loss.svg"} <= set(sent)
    sent.clear()
    made.synced(store.uri)
    os.utime(path, (1, 1))  # written again with the same content
    made.synced(store.uri)
    assert sent == []
    path.write_bytes(b"3")
    stored = made.synced(store.uri)
    assert sent == ["b.csv"]
    assert stored.artifact("b.csv") == b"3"


def test_a_store_without_room_for_artifacts_keeps_no_metric_waiting(made, store, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the store wants a folder")
    store.client.create_experiment(made.experiment, artifact_location=blocked.as_uri())
    put(made.folder, "batch.png", b"\x89PNG")
    made.steps(1, 23)
    made.evaluated(22, 40.0)
    made.end()
    result = made.sync(store.uri)
    assert result.outcome == "failed"
    assert "batch.png" in result.problem
    stored = made.stored(store.uri)
    assert len(stored.history("train/loss")) == 22
    assert stored.run.info.status == "FINISHED"
    assert len(stored.models) == 1
    blocked.unlink()
    stored = made.synced(store.uri)
    assert stored.artifact("batch.png") == b"\x89PNG"
    assert len(stored.artifacts("curves")) == 3


class Shelf:
    """A store of artifacts that refuses some."""

    def __init__(self):
        self.refused, self.tried = set(), []

    def log_file(self, run_id, content, path):
        self.tried.append(path)
        if path in self.refused:
            raise StoreUnavailable("no room")


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def clock():
    return Clock()


def test_one_file_that_is_refused_holds_up_no_other_and_is_not_tried_at_once(made, shelf, clock):
    for name in ("a", "b", "c"):
        put(made.folder, name, b"1")
    shelf.refused = {"a"}
    files = RunFiles(made.folder, shelf, Cursor("uri", "id"), clock)

    def send(is_over=False):
        shelf.tried.clear()
        files.send(RunFacts(), "key", "digits", is_over)

    with pytest.raises(StoreUnavailable, match="artifact a: no room"):
        send()
    assert shelf.tried == ["a"]
    send()
    assert shelf.tried == []  # put off
    clock.now_s += 5
    with pytest.raises(StoreUnavailable):
        send()
    assert shelf.tried == ["b", "c", "a"]
    clock.now_s += 5
    send()
    assert shelf.tried == []  # for longer each time
    with pytest.raises(StoreUnavailable):
        send(is_over=True)
    shelf.refused.clear()
    send(is_over=True)
    assert shelf.tried == ["a"]


def test_pictures_are_made_now_and_then_and_at_the_end(made, shelf, clock, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        files_module, "pictures", lambda points, name: drawn.append(len(points)) or {}
    )
    cursor = Cursor("uri", "id")
    files = RunFiles(made.folder, shelf, cursor, clock)

    def round_at(seconds, is_over=False):
        clock.now_s = 1000.0 + seconds
        made.steps(made.journal.last_step + 1, made.journal.last_step + 2)
        cursor.move(made.folder.journal, made.folder.journal.stat().st_size)
        files.send(RunFacts(), "key", "digits", is_over)

    for seconds in (0, CURVES_EVERY_S - 1, CURVES_EVERY_S, CURVES_EVERY_S + 1):
        round_at(seconds)
    assert drawn == [6]  # once, of what was sent by then: two points a step
    round_at(CURVES_EVERY_S + 2, is_over=True)
    files.send(RunFacts(), "key", "digits", is_over=True)
    assert drawn == [6, 10]  # and not again for the same journal


def test_pictures_of_values_that_are_no_numbers():
    losses = [2.0, math.nan, 1.0]
    points = [Point("train/loss", loss, 1, step) for step, loss in enumerate(losses)]
    points += [Point("val/loss", math.inf, 1, 0), Point("train/lr", math.nan, 1, 0)]
    points += [Point("system/n1/cpu_pct", 1.0, 1, 0), Point("train/grad_norm", 1.0, 1, 0)]
    made = pictures(points, "a & <b>")
    assert list(made) == ["curves/loss.svg"]
    told = "".join(ET.fromstring(made["curves/loss.svg"]).itertext())
    assert "a & <b>" in told
    assert "val/loss" not in told
    assert "nan" not in made["curves/loss.svg"].lower()


def test_pictures_of_many_points_stay_small():
    points = [Point("train/loss", 7 / (1 + step), 1, step) for step in range(100_000)]
    assert len(pictures(points, "long")["curves/loss.svg"]) < 100_000


def test_no_pictures_without_points():
    assert pictures([], "new") == {}


def test_a_refusal_of_files_is_told_as_a_refusal(made, shelf, clock):
    put(made.folder, "a", b"1")

    def refuse(*_):
        raise StoreRefused("not allowed")

    shelf.log_file = refuse
    with pytest.raises(StoreRefused, match="artifact a: not allowed"):
        RunFiles(made.folder, shelf, Cursor("uri", "id"), clock).send(RunFacts(), "k", "n", True)


def test_a_file_that_cannot_be_read_is_named_once(made, store, capsys, monkeypatch):
    path = put(made.folder, "a.csv", b"1")
    read_bytes = type(path).read_bytes

    def read(self):
        if self.name == "a.csv":
            raise PermissionError(13, "Permission denied", str(self))
        return read_bytes(self)

    monkeypatch.setattr(type(path), "read_bytes", read)
    put(made.folder, "b.csv", b"2")
    uploader = Uploader(made.folder, StoreUri(store.uri))
    uploader.upload()
    uploader.upload_files()
    uploader.upload_files()
    assert made.stored(store.uri).artifacts() == ["b.csv"]
    assert capsys.readouterr().err.count("a.csv cannot be read") == 1


def test_texts_that_no_database_takes_arrive_without_their_odd_characters(made, store):
    odd, clean = "caf\udce9 \0", "caf\ufffd \ufffd"
    update_run_info(made.folder.path, name=odd, experiment=(experiment := made.experiment + odd))
    put(made.folder, os.fsdecode(b"caf\xe9.csv"), b"1")
    made.journal.settings({"data.root": odd})
    made.journal.tags({"launch_command": odd})
    made.journal.dataset(odd, "train", "ab" * 32, 3)
    made.evaluated(22, 40.0)
    made.end()
    made.experiment = experiment.replace(odd, clean)
    stored = made.synced(store.uri)
    assert stored.run.info.run_name == clean
    assert stored.run.data.params["data.root"] == clean
    assert stored.tags["launch_command"] == clean
    drawn = ET.fromstring(stored.artifact("curves/loss.svg"))
    assert clean in " ".join(drawn.itertext())
    assert "caf\ufffd.csv" in stored.artifacts()
    assert f"{clean}-train" in [i.dataset.name for i in stored.run.inputs.dataset_inputs]
    assert stored.models[0].params["data.root"] == clean
