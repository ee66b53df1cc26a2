"""MLflow's UI on a local store: for one person, on the loopback, gone with Ctrl-C."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import PreflightError, UserError
from pipeline.log import info
from pipeline.redact import redact
from pipeline.tracking.store_uri import StoreUri

_LOOPBACK = "127.0.0.1"
_POLL_S = 0.2
_FIRST_PORT, _LAST_PORT = 1024, 65535
_SHOWN_LINES = 5

# What an environment may say to other servers. Here it would open the door (allowed hosts), move
# the page (prefix), or bring in a server that does not look at hosts.
_OF_SERVERS = ("MLFLOW_SERVER_", "MLFLOW_STATIC_PREFIX", "MLFLOW_ARTIFACTS_ONLY")
_OF_SERVERS += ("MLFLOW_GUNICORN_OPTS", "MLFLOW_WAITRESS_OPTS", "MLFLOW_UVICORN_OPTS")


def serve(store: StoreUri, port: int, page: str = "") -> int:
    """Show ``store`` on ``port`` of the loopback until Ctrl-C, SIGTERM or SIGHUP; returns 0 then.

    page: what follows the address, to begin there.

    Raises UserError where the port is taken, PreflightError where MLflow's server ends by itself.
    """
    check_port(port)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with tempfile.NamedTemporaryFile(prefix="mlflow-ui-", suffix=".log") as log:
        # In a session of its own Ctrl-C does not reach it: this process ends it, and all of it.
        server = subprocess.Popen(
            ui_command(port),
            env=ui_environment(store, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            info(f"starting MLflow's UI of {store.shown}")
            while server.poll() is None and not _is_reachable(port):
                time.sleep(_POLL_S)
            if server.poll() is None:
                print(f"http://{_LOOPBACK}:{port}{page}", flush=True)
                info(_how_to_look(port))
            code = server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _end(server)
        last = redact(Path(log.name).read_text(errors="replace")).splitlines()[-_SHOWN_LINES:]
    raise PreflightError("\n  ".join([f"MLflow's server ended with exit code {code}:", *last]))


def ui_command(port: int) -> list[str]:
    """The command of MLflow's server on ``port``; the store, maybe with a password, is not in it.

    It answers requests to this machine only, and refuses those that a foreign page sends here
    under its own name (DNS rebinding). Any port is allowed, as a tunnel may begin at another.
    """
    place = ["--host", _LOOPBACK, "--port", str(port)]
    safe = ["--allowed-hosts", f"localhost:*,{_LOOPBACK}:*"]
    # For one person; each further worker imports all of MLflow before the page opens.
    return [sys.executable, "-m", "mlflow", "server", *place, *safe, "--workers", "1"]


def ui_environment(store: StoreUri, environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` for that command."""
    kept = {k: v for k, v in environment.items() if not k.startswith(_OF_SERVERS)}
    return kept | {
        "MLFLOW_BACKEND_STORE_URI": store.uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Its queue of evaluation jobs: nine processes that a look at training runs has no use for.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def check_port(port: int) -> None:
    """Raises UserError that names the next free port where this one is taken."""
    problem = _port_problem(port)
    if problem is None:
        return
    free = next(
        (p for p in range(max(port + 1, _FIRST_PORT), _LAST_PORT + 1) if _port_problem(p) is None),
        None,
    )
    hint = "use a lower one" if free is None else f"use another, such as {free}"
    raise UserError(f"--port {port}: {problem}; {hint}")


def tunnel(environment: Mapping[str, str], user: str, node: str, port: int) -> str | None:
    """The ssh command that brings ``port`` of this machine to a person's own; None if this is it.

    ``node``: this machine's name. A login node is named by the address that the person's own ssh
    connection went to, which a job inherits; else by Slurm's word.
    """
    ssh = f"ssh -L {port}:{_LOOPBACK}:{port}"
    connection = environment.get("SSH_CONNECTION", "").split()
    address = connection[2] if len(connection) == 4 else None
    if environment.get("SLURM_JOB_ID"):
        login = address or environment.get("SLURM_SUBMIT_HOST")
        jump = f" -J {user}@{login}" if login not in (None, node) else ""
        return f"{ssh}{jump} {user}@{node}"
    return None if address is None else f"{ssh} {user}@{address}"


def _how_to_look(port: int) -> str:
    user = os.environ.get("USER") or str(os.getuid())
    command = tunnel(os.environ, user, socket.gethostname(), port)
    if command is None:
        return "Ctrl-C ends it"
    return f"from your own machine: {command}\nand open the address there; Ctrl-C here ends it"


def _port_problem(port: int) -> str | None:
    if not 1 <= port <= _LAST_PORT:
        return f"must be between 1 and {_LAST_PORT}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError as error:
            return error.strerror
    return None


def _is_reachable(port: int) -> bool:
    # Not urllib, which would ask a proxy of the environment for our own loopback.
    connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def _end(server: "subprocess.Popen[bytes]") -> None:
    """At once: it has nothing to save, and would wait for open pages to close."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
