"""MLflow and Slurm: reached, silent and missing."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.config.schema import TrackingConfig
from slurm.doctor.services import file_system, mlflow, slurm_commands, sqlite_verdict
from slurm.doctor.subject import Subject


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answering) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


def subject(uri: str | None, is_in_job: bool = True) -> Subject:
    config = Config(device="cpu", tracking=TrackingConfig(uri=uri))
    return Subject(config, "n1", is_in_job=is_in_job)


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_a_server_that_answers(server: str) -> None:
    verdict = mlflow(subject(server))
    assert verdict.state == "ok" and f"{server} answers in" in verdict.reason


def test_a_server_that_refuses(server: str) -> None:
    verdict = mlflow(subject(f"{server}/elsewhere"))
    assert verdict.state == "warn" and "HTTP 401" in verdict.reason


def test_no_server(closed_port: int) -> None:
    verdict = mlflow(subject(f"http://127.0.0.1:{closed_port}"))
    assert verdict.state == "warn" and "Connection refused" in verdict.reason
    assert "pipeline.tracking sync" in verdict.remedy


def test_a_database(closed_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert mlflow(subject(f"postgresql://127.0.0.1:{port}/mlflow")).state == "ok"
    verdict = mlflow(subject(f"postgresql://127.0.0.1:{closed_port}/mlflow"))
    assert verdict.state == "warn"


def test_the_journal_alone_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "journal only" in mlflow(subject("journal", is_in_job=False)).reason
    # SQLite is never written to from a job.
    assert "journal only" in mlflow(subject(None)).reason


def test_sqlite_wants_a_local_disk(tmp_path: Path) -> None:
    verdict = mlflow(subject(f"sqlite:///{tmp_path}/new/mlflow.db", is_in_job=False))
    assert verdict.state == "ok" and file_system(tmp_path) in verdict.reason
    assert file_system(Path("/proc")) == "proc"
    assert sqlite_verdict(tmp_path / "mlflow.db", "lustre").state == "warn"


def test_a_machine_without_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    here = slurm_commands(subject(None, is_in_job=False))
    assert here.state == "warn" and "not on this machine: sbatch" in here.reason
    assert slurm_commands(subject(None)).state == "fail"
