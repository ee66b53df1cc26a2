"""An MLflow server on loopback, to be stopped and started again on the same store."""

import os
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.slurm.cluster import wait_until

_START_S = 120


@dataclass
class MlflowServer:
    """Its database and its log are in a folder that it makes."""

    folder: Path
    port: int = field(default_factory=lambda: _free_port())
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, if it does not run; it answers seconds later."""
        if self._process is not None:
            return
        self.folder.mkdir(exist_ok=True)
        words = [
            *("-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self._database}"),
            *("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
        ]
        # MLflow's queue of evaluation jobs would be nine more processes.
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env=os.environ | quiet,
            )

    def wait(self) -> None:
        """Until it answers. Raises ClusterError with its log."""
        wait_until(
            self._answers, _START_S, lambda: (self.folder / "server.log").read_text()[-3000:]
        )

    def kill(self) -> None:
        """SIGKILL it and its workers."""
        if self._process is None:
            return
        server = psutil.Process(self._process.pid)
        for process in [server, *server.children(recursive=True)]:
            process.kill()
        self._process.wait()
        self._process = None

    def statuses(self) -> list[str]:
        """Of every run in the store, whatever experiment it is in."""
        return [status for (status,) in self._select("SELECT status FROM runs")]

    def points(self) -> list[tuple[str, int, int, float]]:
        """All points of all runs: key, step, milliseconds since the epoch, value; sorted."""
        rows = self._select("SELECT key, step, timestamp, value FROM metrics")
        return sorted((key, step, t_ms, value) for key, step, t_ms, value in rows)

    @property
    def _database(self) -> Path:
        return self.folder / "mlflow.db"

    def _select(self, query: str) -> list[tuple]:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
