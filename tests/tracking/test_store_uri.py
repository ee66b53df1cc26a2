"""Which store a run belongs to, and that no password is written down."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.tracking.store_uri import parse_store, store_of_launch, store_of_sync

HERE = Path("/srv")
SERVER = {"MLFLOW_TRACKING_URI": "http://user:pw@tracker:5000"}


def test_relative_sqlite_paths_count_from_the_working_directory():
    assert parse_store("sqlite:///mlflow.db", HERE).uri == "sqlite:////srv/mlflow.db"
    assert parse_store("sqlite:////data/m.db", HERE).sqlite_path == Path("/data/m.db")


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///", "ftp://x"]
)
def test_stores_that_would_double_points_or_name_nothing_are_refused(uri):
    with pytest.raises(UserError, match=r"sqlite:///mlflow\.db"):
        parse_store(uri, HERE)


def test_config_then_environment_then_sqlite():
    given = store_of_launch("http://mine:1", None, SERVER, HERE)
    assert given is not None
    assert given.uri == "http://mine:1"
    server = store_of_launch(None, None, SERVER, HERE)
    assert server is not None
    assert (server.uri, server.shown) == ("http://user:pw@tracker:5000", "http://tracker:5000")
    local = store_of_launch(None, None, {}, HERE)
    assert local is not None
    assert local.uri == "sqlite:////srv/mlflow.db"
    assert store_of_launch("journal", None, SERVER, HERE) is None


def test_a_slurm_job_uploads_to_servers_only():
    assert store_of_launch(None, "17", {}, HERE) is None
    assert store_of_launch("sqlite:///m.db", "17", SERVER, HERE) is None
    assert store_of_launch(None, "17", SERVER, HERE) is not None


def test_a_password_in_the_config_is_refused_without_showing_it():
    with pytest.raises(UserError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        store_of_launch("http://user:hunter2@host", None, {}, HERE)
    assert "hunter2" not in str(caught.value)


def test_sync_keeps_to_the_runs_own_store_unless_another_is_given():
    recorded = "http://tracker:5000"
    assert store_of_sync(None, recorded, {}, HERE).uri == recorded
    assert store_of_sync(None, recorded, SERVER, HERE).uri == SERVER["MLFLOW_TRACKING_URI"]
    other = {"MLFLOW_TRACKING_URI": "http://other:5000"}
    assert store_of_sync(None, recorded, other, HERE).uri == recorded
    assert store_of_sync(None, None, other, HERE).uri == "http://other:5000"
    assert store_of_sync("sqlite:///a.db", recorded, other, HERE).uri == "sqlite:////srv/a.db"
