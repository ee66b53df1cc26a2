"""Everything in the journal arrives once, however often and wherever the upload broke off."""

import pytest
from mlflow import MlflowClient

from pipeline.tracking import read_run_info
from pipeline.tracking.journal import metric_values, read_journal
from pipeline.tracking.store_uri import StoreUri
from pipeline.tracking.upload import uploader as uploader_module
from pipeline.tracking.upload.batch import gather
from pipeline.tracking.upload.cursor import Cursor
from pipeline.tracking.upload.mlflow_store import StoreUnavailable
from pipeline.tracking.upload.sync import sync_runs
from pipeline.tracking.upload.uploader import Uploader, uploading


def sync(folder, store):
    (result,) = sync_runs([folder.path], store.uri)
    assert result.problem is None
    return result


def journaled(folder, key):
    return sorted(
        (record["step"], record["t_ms"], metric_values(record)[key])
        for record in read_journal(folder.journal).records
        if key in record.get("metrics", {})
    )


def points_in(folder):
    return sum(len(metric_values(record)) for record in read_journal(folder.journal).records)


def log_steps(tracker, first, last):
    for step in range(first, last):
        tracker.log({"train/loss": 7 - step / 100, "train/lr": 1e-3}, step)


def test_everything_arrives_and_a_repetition_sends_nothing(folder, start, store):
    tracker = start(facts={"torch": "2.9.0", "git_commit": "c0ffee"})
    tracker.dataset("digits", "train", "ab" * 32, 1437)
    tracker.dataset("digits", "validation", "cd" * 32, 360)
    log_steps(tracker, 0, 1200)  # more than one request takes
    tracker.log({"val/top1": 97.5, "val/loss": float("nan")}, 1199)
    tracker.end("FINISHED", {"best_top1": 97.5})
    first = sync(folder, store)
    assert (first.outcome, first.status) == ("synced", "FINISHED")
    assert first.points == points_in(folder)
    run = store.only_run()
    assert (run.info.run_name, run.info.status) == ("digits", "FINISHED")
    assert run.info.end_time == read_journal(folder.journal).records[-1]["t_ms"]
    assert run.data.params["optim.lr_base"] == "0.001"
    assert run.data.params["augment.scale"] == "[0.08, 1]"
    expected = {"torch": "2.9.0", "state": "finished", "summary.best_top1": "97.5", "launches": "1"}
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    inputs = {i.dataset.name: i.dataset.digest for i in run.inputs.dataset_inputs}
    assert inputs == {"digits-train": "ab" * 18, "digits-validation": "cd" * 18}
    assert store.history("train/loss") == journaled(folder, "train/loss")
    assert len(store.history("train/lr")) == 1200
    assert str(store.history("val/loss")[0][2]) == "nan"
    artifacts = {artifact.path for artifact in store.client.list_artifacts(run.info.run_id)}
    assert {"config.resolved.yaml", "curves"} <= artifacts
    assert read_run_info(folder.path)["mlflow_run_id"] == run.info.run_id
    again = sync(folder, store)
    assert (again.records, again.points) == (0, 0)


def test_a_replay_without_the_cursor_doubles_nothing(folder, start, store):
    tracker = start()
    tracker.dataset("digits", "train", "ab" * 32, 1437)
    log_steps(tracker, 0, 150)
    tracker.log({"x": float("nan"), "y": float("inf")}, 3)
    sync(folder, store)
    keys = ("train/loss", "train/lr", "x", "y")
    before = {key: repr(store.history(key)) for key in keys}
    folder.cursor.unlink()
    log_steps(tracker, 150, 160)
    tracker.end("FINISHED")
    assert sync(folder, store).points == points_in(folder)
    assert len(store.history("train/loss")) == 160
    assert {key: repr(store.history(key)) for key in ("x", "y")} == {
        k: before[k] for k in ("x", "y")
    }
    assert store.history("train/lr") == journaled(folder, "train/lr")
    assert len(store.only_run().inputs.dataset_inputs) == 1


def test_dying_between_the_store_and_the_cursor_doubles_nothing(folder, start, store, monkeypatch):
    monkeypatch.setattr(uploader_module, "CHUNK_BYTES", 2000)
    tracker = start()
    log_steps(tracker, 0, 100)
    tracker.end("FINISHED")

    class Killed(BaseException):
        pass

    write, left = Cursor.write, [3]

    def die_on_the_third(self, path):
        left[0] -= 1
        if not left[0]:
            raise Killed
        write(self, path)

    monkeypatch.setattr(Cursor, "write", die_on_the_third)
    with pytest.raises(Killed):
        Uploader(folder, StoreUri(store.uri)).upload()
    monkeypatch.setattr(Cursor, "write", write)
    assert 0 < len(store.history("train/loss")) < 100
    sync(folder, store)
    assert store.history("train/loss") == journaled(folder, "train/loss")
    assert len(store.history("train/loss")) == 100


@pytest.fixture
def sent(monkeypatch):
    """The metrics of each request, as (key, step)."""
    log_batch = MlflowClient.log_batch

    def log_and_tell(self, run_id, metrics=(), **others):
        log_batch(self, run_id, metrics, **others)
        if metrics:
            requests.append([(metric.key, metric.step) for metric in metrics])

    requests = []
    monkeypatch.setattr(MlflowClient, "log_batch", log_and_tell)
    return requests


def test_what_the_store_has_is_not_sent_again(made, any_uri, sent):
    made.steps(0, 600)
    wanted = made.synced(any_uri).history("train/loss")
    assert [len(request) for request in sent] == [1000, 200]
    sent.clear()
    made.folder.cursor.unlink()
    made.steps(600, 610)
    stored = made.synced(any_uri)
    assert sent == [[(key, s) for s in range(600, 610) for key in ("train/loss", "train/lr")]]
    assert stored.history("train/loss")[:600] == wanted
    assert len(stored.history("train/loss")) == 610


def test_an_answer_that_was_lost_is_no_lost_point(made, any_uri, sent, monkeypatch):
    made.steps(0, 600)
    uploader = Uploader(made.folder, StoreUri(any_uri))
    log_batch = MlflowClient.log_batch

    def log_and_hang(*arguments, **named):
        log_batch(*arguments, **named)
        raise TimeoutError("timed out")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", log_and_hang)
        with pytest.raises(StoreUnavailable):
            uploader.upload()
    uploader.upload()
    assert [len(request) for request in sent] == [1000, 200]
    assert len(made.stored(any_uri).history("train/loss")) == 600


@pytest.mark.parametrize(
    ("status", "mlflow_status", "tag"),
    [
        ("FINISHED", "FINISHED", "finished"),
        ("FAILED", "FAILED", "failed"),
        ("KILLED", "KILLED", "killed"),
        ("REQUEUED", "RUNNING", "requeued"),
    ],
)
def test_how_a_run_ended(folder, start, store, status, mlflow_status, tag):
    tracker = start()
    sync(folder, store)
    run = store.only_run()
    assert (run.info.status, run.data.tags["state"], run.info.end_time) == (
        "RUNNING",
        "running",
        None,
    )
    tracker.end(status)
    assert sync(folder, store).status == status
    run = store.only_run()
    assert (run.info.status, run.data.tags["state"]) == (mlflow_status, tag)
    assert (run.info.end_time is None) == (status == "REQUEUED")


def test_one_mlflow_run_over_three_launches_that_compute_steps_again(folder, start, store):
    for first, last, status in ((0, 50, "REQUEUED"), (30, 80, "FAILED"), (60, 120, "FINISHED")):
        tracker = start(experiment="imagenet" if first == 0 else "another")
        sync(folder, store)
        assert store.only_run().info.status == "RUNNING"
        log_steps(tracker, first, last)
        tracker.end(status)
        sync(folder, store)
    run = store.only_run()
    assert (run.info.status, run.data.tags["launches"]) == ("FINISHED", "3")
    assert run.data.tags["latest.tracking.experiment"] == "another"
    assert [step for step, _, _ in store.history("train/loss")] == list(range(120))


# Only a crash of the file system can do this: what is sent is fsynced before.
def test_a_journal_shorter_than_the_cursor_is_sent_from_its_start(folder, start, store):
    tracker = start()
    log_steps(tracker, 0, 50)
    tracker.end("FAILED")
    sync(folder, store)
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    folder.journal.write_bytes(b"".join(lines[:-30]))
    tracker = start()
    log_steps(tracker, 0, 60)
    tracker.end("FINISHED")
    sync(folder, store)
    assert set(journaled(folder, "train/loss")) <= set(store.history("train/loss"))
    assert store.only_run().info.status == "FINISHED"


def test_another_store_gets_everything(folder, start, store, tmp_path, empty_store):
    tracker = start()
    log_steps(tracker, 0, 20)
    tracker.end("FINISHED")
    sync(folder, store)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "mlflow.db").write_bytes(empty_store.read_bytes())
    second = type(store)(f"sqlite:///{tmp_path}/second/mlflow.db")
    assert sync(folder, second).points == points_in(folder)
    assert second.history("train/loss") == store.history("train/loss")
    assert read_run_info(folder.path)["tracking_uri"] == second.uri
    assert (tmp_path / "second" / "mlruns" / "imagenet").is_dir()


def test_a_run_deleted_in_mlflow_stays_deleted(folder, start, store):
    start().end("FINISHED")
    sync(folder, store)
    run_id = store.only_run().info.run_id
    store.client.delete_run(run_id)
    (result,) = sync_runs([folder.path], store.uri)
    assert result.outcome == "deleted"
    assert f"restore --run-id {run_id}" in (result.problem or "")
    assert store.only_run().info.lifecycle_stage == "deleted"


def test_a_store_that_is_down_fails_all_its_runs_after_one_try(
    folder, start, tmp_path, monkeypatch
):
    start().end("FINISHED")
    tries = []

    def down(*_):
        tries.append(1)
        raise StoreUnavailable("no answer")

    monkeypatch.setattr("pipeline.tracking.upload.sync.Uploader", down)
    results = sync_runs([folder.path] * 3, "http://127.0.0.1:9")
    assert [result.outcome for result in results] == ["failed"] * 3
    assert len(tries) == 1


def test_two_uploaders_never_run_at_once(folder, start, store):
    start().end("FINISHED")
    with uploading(folder.lock, wait_s=0) as ours:
        assert ours
        (result,) = sync_runs([folder.path], store.uri)
        assert result.outcome == "busy"
    assert sync(folder, store).outcome == "synced"


def test_gather_keeps_points_in_order_and_the_last_of_the_rest():
    batch = gather(
        [
            {"kind": "start", "t_ms": 1, "step": 0},
            {"kind": "tags", "t_ms": 2, "step": 0, "tags": {"a": "1", "b": "1"}},
            {"kind": "metrics", "t_ms": 3, "step": 1, "metrics": {"x": 1.5, "y": "Infinity"}},
            {"kind": "tags", "t_ms": 4, "step": 1, "tags": {"a": "2"}},
            {"kind": "a-kind-of-later", "t_ms": 5, "step": 1},
            {"kind": "end", "t_ms": 6, "step": 1, "status": "KILLED", "summary": {"best": 3}},
        ]
    )
    assert batch.points == [("x", 1.5, 3, 1), ("y", float("inf"), 3, 1)]
    assert (batch.unknown, batch.last_ms) == ({"a-kind-of-later"}, 6)
    assert batch.tags == {"a": "2", "b": "1", "summary.best": "3"}
    assert batch.state is not None
    assert (batch.state.status, batch.state.tag, batch.state.ended_ms) == ("KILLED", "killed", 6)
