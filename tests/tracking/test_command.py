"""python -m pipeline.tracking, as a person meets it."""

import json

import pytest

from pipeline.errors import PreflightError, UserError, run_cli
from pipeline.tracking import __main__ as command_module
from tests.tracking.servers import Proxy, tls_listener


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


@pytest.fixture
def tls_server(tmp_path):
    with tls_listener(tmp_path) as uri:
        yield uri


@pytest.fixture
def proxy():
    proxy = Proxy("http://127.0.0.1:9")
    proxy.up()
    yield proxy
    proxy.pass_on()
    proxy.down()


@pytest.mark.parametrize(
    ("uri", "answer", "said"),
    [
        ("http://me:t0psecret@127.0.0.1:9", None, "does not answer (Connection refused)"),
        ("http://no-such-host.invalid", None, "does not answer (Name or service not known)"),
        ("proxy", 200, "answers with a page that is no data; it is no MLflow server, or asks"),
        ("proxy", 404, "answers 404 Not Found; this is no MLflow server"),
        ("proxy", 401, "answers 401 Unauthorized; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_P"),
        ("proxy", 403, "answers 403 Forbidden; this user may not"),
        ("proxy", 500, "answers 500 Internal Server Error"),
        ("tls", None, "no secure connection (certificate verify failed: self-signed certificate)"),
        (
            "postgresql+psycopg2://me:t0psecret@127.0.0.1:9/mlflow",
            None,
            "failed: Connection refused",
        ),
        ("postgresql+no_such://127.0.0.1/mlflow", None, "Can't load plugin: sqlalchemy.dialects:"),
        ("mysql+pymysql://127.0.0.1/mlflow", None, "install the driver of this database"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_line(
    start, tmp_path, proxy, tls_server, monkeypatch, capsys, uri, answer, said
):
    start().end("FINISHED")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    proxy.status = answer
    address = {"proxy": proxy.uri, "tls": tls_server}.get(uri, uri)
    with pytest.raises(PreflightError) as caught:
        command_module.main(["sync", "--all", "--json", "--uri", address])
    text = str(caught.value)
    assert said in text
    assert text.startswith("digits: MLflow at ")
    assert text.endswith(
        "check the address (tracking.uri, $MLFLOW_TRACKING_URI, --uri) and repeat the command"
    )
    assert text.count("MLflow at") == 1 and "\n" not in text
    out, err = capsys.readouterr()
    assert [result["outcome"] for result in json.loads(out)] == ["failed"]
    assert err == ""
    assert "t0psecret" not in text + out


def test_a_failed_sync_ends_with_exit_code_3(start, tmp_path, monkeypatch, capsys):
    start().end("FINISHED")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run_cli(lambda: command_module.main(["sync", "digits", "--uri", "http://127.0.0.1:9"]))
    assert caught.value.code == 3
    err = capsys.readouterr().err
    assert err.startswith("error: digits: MLflow at http://127.0.0.1:9: does not answer")
    assert err.count("\n") == 1


def test_a_run_that_is_not_there(start, tmp_path, tracking):
    start().end("FINISHED")
    done = tracking("sync", "digit", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: run 'digit': no run folder of this name under runs; did you mean digits?\n"
    )


def test_a_damaged_run_fails_alone(start, store, tmp_path, monkeypatch, capsys):
    start().end("FINISHED")
    (tmp_path / "runs" / "digits").rename(tmp_path / "runs" / "first")
    start().end("FINISHED")
    (tmp_path / "runs" / "first" / "run.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PreflightError, match=r"first: .*run.json: damaged JSON"):
        command_module.main(["sync", "--all", "--uri", store.uri])
    assert store.only_run().info.status == "FINISHED"


@pytest.mark.parametrize("verb", [["sync", "--all"], ["open"]])
def test_a_runs_root_that_is_not_there(tmp_path, verb):
    with pytest.raises(UserError, match=r"--runs-root .*nowhere: there is no such folder"):
        command_module.main([*verb, "--runs-root", str(tmp_path / "nowhere")])


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


def test_help_needs_neither_mlflow_nor_torch(tmp_path, tracking):
    done = tracking("--help", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pipeline.tracking" in imported
    assert not {"mlflow", "torch", "sqlalchemy"} & imported
