"""Passwords come from the environment, do their work, and are written nowhere."""

import base64
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import sqlalchemy

from pipeline.tracking import RunFolder
from pipeline.tracking.upload.sync import sync_runs
from tests.dist.small_training import small_training
from tests.tracking.servers import Proxy
from tests.tracking.truth import check_store
from tests.tracking.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
# Another one each time: a copy of this file in code.diff must not hold it.
CANARY = secrets.token_hex()


def files_with_canary(folder):
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found
    return [path for path in found if CANARY.encode() in path.read_bytes()]


def rows_with_canary(database):
    engine = sqlalchemy.create_engine(database)
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(engine).get_table_names()
        assert "params" in tables and "tags" in tables
        rows = [
            (table, row)
            for table in tables
            for row in connection.execute(sqlalchemy.text(f'SELECT * FROM "{table}"'))
        ]
    engine.dispose()
    assert len(rows) > 100
    return [row for row in rows if CANARY in repr(row)]


def arguments_with_canary():
    lines = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    return [line for line in lines if CANARY in " ".join(line)]


@pytest.fixture
def guarded(team_server):
    """A proxy that lets only Ada in, and her not yet."""
    proxy = Proxy(team_server.uri)
    proxy.authorization = "Basic " + base64.b64encode(f"ada:{CANARY}".encode()).decode()
    proxy.status = 403
    proxy.up()
    yield proxy
    proxy.down()


def test_a_refused_training_uploads_later_and_leaves_no_password(
    digit_shards, tmp_path, guarded, team_server, database, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", guarded.uri.replace("//", f"//ada:{CANARY}@"))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", CANARY)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", CANARY)
    training = small_training("small", tmp_path / "runs", digit_shards, "tracking.uri=null")
    launch = [sys.executable, "slurm/launch.py", "--cluster", "local", *map(str, training)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    seen = []
    with subprocess.Popen(
        [*launch, "engine.cpu_tasks=1"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None:
            seen += arguments_with_canary()
            time.sleep(0.2)
        said = process.stderr.read()
    assert process.returncode == 0, said
    folder = RunFolder(tmp_path / "runs" / "small")
    wait_for(lambda: "gave up" in folder.tracking_log.read_text(), "the uploader's last word")
    log = folder.tracking_log.read_text()
    assert 1 <= log.count("answers 403 Forbidden") <= 2  # on the way, and at the end
    assert guarded.requests > 0 and not folder.cursor.exists()
    guarded.pass_on()
    (result,) = sync_runs([folder.path])
    assert result.outcome == "synced", result
    assert check_store(folder, team_server.uri, "FINISHED", "finished") > 0
    assert seen == []
    assert CANARY not in said + repr(result)
    assert files_with_canary(tmp_path) == []
    assert rows_with_canary(database) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", guarded.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    (result,) = sync_runs([folder.path])
    assert result.outcome == "failed"
    assert "answers 401 Unauthorized" in str(result.problem)


@pytest.mark.parametrize(
    "address", ["http://ada:{}@host", "http://{}@host", "https://host?token={}"]
)
@pytest.mark.parametrize(
    "program", [["slurm/launch.py", "--cluster", "local"], ["-m", "pipeline.train"]]
)
def test_a_password_in_the_config_is_refused_before_anything_is_written(
    digit_shards, tmp_path, program, address
):
    training = small_training(
        "small", tmp_path / "runs", digit_shards, f"tracking.uri={address.format(CANARY)}"
    )
    done = subprocess.run(
        [sys.executable, *program, *map(str, training)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "MLFLOW_TRACKING_PASSWORD" in done.stderr
    assert CANARY not in done.stderr + done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
