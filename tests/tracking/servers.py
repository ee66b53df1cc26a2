"""Real MLflow servers and PostgreSQL, and a proxy that spoils the answers of the one behind it."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_START_S = 60.0
_LOOPBACK = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((_LOOPBACK, 0)) as probe:
        return probe.getsockname()[1]


class MlflowServer:
    """``mlflow server`` of one worker at a fixed address; can be killed and started again."""

    def __init__(self, folder: Path, backend: str, *arguments: str, **environment: str):
        self.port = free_port()
        self.uri = f"http://{_LOOPBACK}:{self.port}"
        self._folder = folder
        self._command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", backend]
        self._command += ["--port", str(self.port), "--workers", "1", *arguments]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._environment = os.environ | quiet | environment
        self._environment.pop("MLFLOW_TRACKING_URI", None)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            said = (self._folder / "server.log").read_text()
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL to it and its workers."""
        if self._process is not None:
            # Its own session, so also a worker that has outlived it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def processes(self) -> list[psutil.Process]:
        """It and its workers."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(_LOOPBACK, self.port, timeout=5)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                return False


@contextlib.contextmanager
def mlflow_server(
    folder: Path, backend: str, *arguments: str, **env: str
) -> Iterator[MlflowServer]:
    server = MlflowServer(folder, backend, *arguments, **env)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Proxy:
    """Passes requests on to ``upstream``, as long as it is in the mood; always at one address.

    ``status``: it answers all requests with this one, and an HTML page. ``silent``: it accepts
    and never answers, ``silent_on`` only what is sent to a path with this in it; what it has
    accepted it passes on later. ``slow_s``: it waits before the next ``slow_times`` answers.
    ``authorization``: the header without which the answer is 401.
    """

    def __init__(self, upstream: str):
        self.upstream = urlsplit(upstream)
        self.status: int | None = None
        self.silent = False
        self.silent_on: str | None = None
        self.slow_s, self.slow_times = 0.0, 0
        self.authorization: str | None = None
        self.requests = 0
        self.port = free_port()
        self.uri = f"http://{_LOOPBACK}:{self.port}"
        self._server: ThreadingHTTPServer | None = None

    def up(self) -> None:
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer((_LOOPBACK, self.port), handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Connections are refused from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def pass_on(self) -> None:
        """In a good mood again."""
        self.status, self.silent, self.silent_on, self.slow_times = None, False, None, 0


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy

    def _answer(self) -> None:
        proxy = self.proxy
        proxy.requests += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        while proxy.silent or (proxy.silent_on or "\n") in self.path:
            time.sleep(0.05)
        if proxy.slow_times > 0:
            proxy.slow_times -= 1
            time.sleep(proxy.slow_s)
        refused = proxy.status
        if proxy.authorization not in (None, self.headers.get("Authorization")):
            refused = 401
        if refused is not None:
            self._send(refused, {"Content-Type": "text/html"}, b"<html><p>Not today.</p></html>")
            return
        upstream = http.client.HTTPConnection(str(proxy.upstream.netloc), timeout=60)
        with contextlib.closing(upstream), contextlib.suppress(BrokenPipeError):
            kept = {k: v for k, v in self.headers.items() if k not in ("Host", "Connection")}
            try:
                upstream.request(self.command, self.path, body, kept)
                answer = upstream.getresponse()
                content = answer.read()
            except OSError:
                self._send(502, {"Content-Type": "text/html"}, b"<html><p>Bad gateway.</p></html>")
                return
            dropped = ("transfer-encoding", "connection", "content-length", "date", "server")
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in dropped}
            self._send(answer.status, headers, content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal of the tests."""


@contextlib.contextmanager
def tls_listener(folder: Path) -> Iterator[str]:
    """An https:// address whose certificate nobody has vouched for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "certificate.pem"
    file.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, *plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = ThreadingHTTPServer((_LOOPBACK, 0), BaseHTTPRequestHandler)
    server.handle_error = lambda *_: None  # the client hangs up
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"https://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def postgres(password: str) -> Iterator[str]:
    """The address of a fresh database on a loopback port, with password; skips without packages.

    The address is without the password, which libpq takes from PGPASSWORD; the driver is named
    in it, since SQLAlchemy's own choice changes between versions.
    """
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found = sorted(versions, key=lambda path: float(path.parts[-3]))
    if not found:
        pytest.skip("postgresql is not installed")
    programs = found[-1].parent
    # Not under pytest's folders, which are this user's alone; PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    become = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if become:
        shutil.chown(folder, "postgres")

    def run(*command: object) -> None:
        words = [*become, *map(str, command)]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    port, data = free_port(), folder / "data"
    (folder / "password").write_text(password)
    (folder / "password").chmod(0o644)
    run(
        *(programs / "initdb", "--pgdata", data, "--username", "mlflow", "--no-sync"),
        *("--auth", "scram-sha-256", "--pwfile", folder / "password", "--encoding", "UTF8"),
    )
    options = f"-c listen_addresses={_LOOPBACK} -c port={port} -c unix_socket_directories={folder}"
    options += " -c fsync=off"
    control = (programs / "pg_ctl", "--pgdata", data, "--silent", "--wait")
    try:
        run(*control, "--log", folder / "log", "--options", options, "start")
        create = [*map(str, (programs / "createdb", "-h", _LOOPBACK, "-p", port, "-U", "mlflow"))]
        subprocess.run([*create, "mlflow"], check=True, env=os.environ | {"PGPASSWORD": password})
        yield f"postgresql+psycopg2://mlflow@{_LOOPBACK}:{port}/mlflow"
    finally:
        run(*control, "--mode", "immediate", "stop")
        shutil.rmtree(folder)
