"""python -m pipeline.tracking, as a person meets it."""

import json

import pytest

from pipeline.errors import PreflightError, UserError
from pipeline.tracking import __main__ as command_module
from pipeline.tracking.run_folder import update_run_info
from pipeline.tracking.store_uri import StoreUri


def test_two_first_syncs_at_once_make_one_store_and_only_json_reaches_stdout(
    start, tmp_path, begin
):
    start().end("FINISHED")
    (tmp_path / "runs" / "digits").rename(tmp_path / "runs" / "first")
    start().end("KILLED")
    both = [
        begin("sync", run, "--json", cwd=tmp_path, MLFLOW_TRACKING_URI="")
        for run in ("first", "digits")
    ]
    results = []
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert len(err.splitlines()) == 1  # no word of alembic's
        results += json.loads(out)
    assert [(r["run"], r["outcome"], r["status"]) for r in results] == [
        ("first", "synced", "FINISHED"),
        ("digits", "synced", "KILLED"),
    ]
    assert {result["uri"] for result in results} == {f"sqlite:///{tmp_path}/mlflow.db"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mlflow.db", "mlruns", "runs"]


def test_an_unreachable_server_is_one_message_and_exit_code_3(start, tmp_path, command):
    start().end("FINISHED")
    done = command("sync", "--all", "--json", "--uri", "http://me:pw@127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 3
    assert [result["outcome"] for result in json.loads(done.stdout)] == ["failed"]
    assert "MLflow at http://127.0.0.1:9: does not answer (Connection refused)" in done.stderr
    assert "repeat the command" in done.stderr
    assert "Traceback" not in done.stderr
    assert "pw" not in done.stderr + done.stdout


def test_a_file_that_is_no_database_is_refused_at_once(start, tmp_path, monkeypatch):
    start().end("FINISHED")
    (tmp_path / "notes.db").write_text("these are not the tables you are looking for")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PreflightError, match="this file is no SQLite database"):
        command_module.main(["sync", "digits", "--uri", "sqlite:///notes.db"])


@pytest.mark.parametrize("arguments", [[], ["digits", "--all"]])
def test_sync_wants_runs_or_all(arguments):
    with pytest.raises(UserError, match="name runs, or give --all"):
        command_module.main(["sync", *arguments])


def test_open_uploads_and_starts_the_ui_of_the_runs_store(
    start, store, tmp_path, monkeypatch, capsys
):
    start().end("FINISHED")
    update_run_info(tmp_path / "runs" / "digits", tracking_uri=store.uri)
    started = []
    monkeypatch.delenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", raising=False)
    monkeypatch.setattr(command_module.os, "execv", lambda _, command: started.append(command))
    monkeypatch.chdir(tmp_path / "runs")
    command_module.main(["open", "--runs-root", ".", "--port", "5055"])
    assert started == [command_module.ui_command(StoreUri(store.uri), 5055)]
    assert started[0][2:8] == ["mlflow", "ui", "--backend-store-uri", store.uri, "--port", "5055"]
    assert store.only_run().info.status == "FINISHED"
    assert "http://127.0.0.1:5055" in capsys.readouterr().err


def test_open_without_runs_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="no runs under runs"):
        command_module.main(["open"])


def test_help_needs_neither_mlflow_nor_torch(tmp_path, command):
    done = command("--help", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pipeline.tracking" in imported
    assert not {"mlflow", "torch", "sqlalchemy"} & imported
