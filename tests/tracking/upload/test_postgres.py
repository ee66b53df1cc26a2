"""A team's set-up: ``mlflow server`` on PostgreSQL, and PostgreSQL itself as the store."""

import json

from pipeline.tracking import RunFolder
from pipeline.tracking.upload.sync import sync_runs
from tests.tracking.truth import check_store


def test_two_runs_at_once_then_again_then_past_the_server(
    start, folder, tmp_path, begin, team_server, database, monkeypatch
):
    runs = {"KILLED": RunFolder(folder.path.with_name("first")), "REQUEUED": folder}
    for status, run in runs.items():
        tracker = start()
        tracker.dataset("digits", "train", "ab" * 32, 1437)
        for step in range(1500):
            tracker.log({"train/loss": 1 / (1 + step)}, step)
        tracker.log({"val/loss": float("nan"), "val/top1": float("inf")}, 1500)
        tracker.end(status)
        if run is not folder:
            folder.path.rename(run.path)
    both = [
        begin("sync", run.path, "--json", cwd=tmp_path, MLFLOW_TRACKING_URI=team_server.uri)
        for run in runs.values()
    ]
    for process, status in zip(both, runs, strict=True):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert [result["status"] for result in json.loads(out)] == [status]

    def check():
        assert check_store(runs["KILLED"], team_server.uri, "KILLED", "killed") == 1500
        assert check_store(runs["REQUEUED"], team_server.uri, "RUNNING", "requeued") == 1500

    check()
    for run in runs.values():
        run.cursor.unlink()
    folders = [run.path for run in runs.values()]
    assert [result.problem for result in sync_runs(folders)] == [None, None]
    check()
    monkeypatch.chdir(tmp_path)
    results = sync_runs(folders, database)
    assert [(result.outcome, result.problem) for result in results] == [("synced", None)] * 2
    assert [result.uri for result in results] == [database.replace("mlflow@", "")] * 2
    check()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_the_database_without_a_server(start, folder, tmp_path, database, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracker = start(experiment="past the server")
    for step in range(50):
        tracker.log({"train/loss": 1 / (1 + step)}, step)
    tracker.end("FINISHED")
    (result,) = sync_runs([folder.path], database)
    assert (result.outcome, result.problem) == ("synced", None)
    assert check_store(folder, database, "FINISHED", "finished") == 50
