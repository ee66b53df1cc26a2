"""Run folders to upload, and one MLflow database that every test gets a copy of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from pipeline.config import Config
from pipeline.config.load import write_resolved
from pipeline.tracking import RunFolder, open_tracker
from pipeline.tracking.store_uri import StoreUri
from pipeline.tracking.upload.mlflow_store import MlflowStore
from pipeline.world import World
from tests.tracking.made_run import MadeRun
from tests.tracking.servers import mlflow_server, postgres

CODE = str(Path(pipeline.__file__).parents[1])


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow database without runs; its tables take seconds to make."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowStore(StoreUri(f"sqlite:///{path}")).open_run("warm-up", "warm-up", "warm-up", 1)
    return path


@pytest.fixture(scope="session")
def database():
    """A PostgreSQL database that MLflow may use; PGPASSWORD is set."""
    with pytest.MonkeyPatch.context() as patch, postgres("pg-t0psecret") as uri:
        patch.setenv("PGPASSWORD", "pg-t0psecret")
        yield uri


@pytest.fixture(scope="session")
def team_server(database, tmp_path_factory):
    """``mlflow server`` on PostgreSQL, as a team would have it. Tests that kill it start it."""
    with mlflow_server(tmp_path_factory.mktemp("server"), database) as server:
        yield server


class Mlflow:
    """A store as a reader sees it, without the code under test."""

    def __init__(self, uri):
        from mlflow import MlflowClient

        self.uri = uri
        self.client = MlflowClient(uri)

    def runs(self, experiment="imagenet"):
        found = self.client.get_experiment_by_name(experiment)
        if found is None:
            return []
        # 3: deleted ones too
        ids = [
            r.info.run_id for r in self.client.search_runs([found.experiment_id], run_view_type=3)
        ]
        return [self.client.get_run(run_id) for run_id in ids]

    def only_run(self):
        (run,) = self.runs()
        return run

    def history(self, key):
        points = self.client.get_metric_history(self.only_run().info.run_id, key)
        return sorted((p.step, p.timestamp, p.value) for p in points)


@pytest.fixture
def store(empty_store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Mlflow(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs" / "digits")


@pytest.fixture
def start(folder):
    """Start a training process's tracker: of this process, on a laptop, journal only."""

    def start(uri="journal", facts=None, world=None, path=folder.path, **tracking):
        settings = {"uri": uri, "system_every_s": 60.0, **tracking}
        config = Config.model_validate({"name": "digits", "tracking": settings})
        path.mkdir(parents=True, exist_ok=True)
        RunFolder(path).config.write_text(write_resolved(config))
        return open_tracker(path, config, world or World(), facts or {})

    return start


@pytest.fixture
def begin():
    """Start ``python -m pipeline.tracking ...`` and return the process."""

    def command(*arguments, cwd, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.tracking", *map(str, arguments)],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": CODE} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    started = []
    yield command
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def tracking(begin):
    """Run ``python -m pipeline.tracking ...`` to its end; returns a CompletedProcess."""

    def tracking(*arguments, cwd, **environment):
        process = begin(*arguments, cwd=cwd, **environment)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return tracking


@pytest.fixture(scope="session")
def plain_server(empty_store, tmp_path_factory):
    """``mlflow server`` on a SQLite file; each test that shares it has an experiment of its own."""
    folder = tmp_path_factory.mktemp("plain-server")
    shutil.copy(empty_store, folder / "mlflow.db")
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db") as server:
        yield server


@pytest.fixture(params=["sqlite", "server"])
def any_uri(request, store):
    """The address of a local store, and of a server."""
    if request.param == "sqlite":
        return store.uri
    return request.getfixturevalue("plain_server").uri


@pytest.fixture
def made(folder):
    """A run whose journal the test writes; see ``MadeRun``."""
    with MadeRun(folder) as run:
        yield run
