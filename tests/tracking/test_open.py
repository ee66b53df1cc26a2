"""python -m pipeline.tracking open: MLflow's page for one person, and for nobody else."""

import http.client
import os
import re
import signal
import socket

import psutil
import pytest

from pipeline.errors import PreflightError, UserError
from pipeline.tracking import __main__ as command_module
from pipeline.tracking import ui
from pipeline.tracking.run_folder import update_run_info
from pipeline.tracking.store_uri import StoreUri
from pipeline.tracking.ui import check_port, tunnel
from tests.tracking.servers import free_port

SSH = "10.0.0.7 51234 192.0.2.5 22"


def ask(port, host, path="/", method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Host": host, **headers})
        return connection.getresponse().status
    finally:
        connection.close()


def listening(port):
    """The addresses on which anybody listens on this port."""
    found = psutil.net_connections("inet")
    return {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN and c.laddr.port == port}


@pytest.fixture
def synced(start, store, tmp_path):
    start().end("FINISHED")
    update_run_info(tmp_path / "runs" / "digits", tracking_uri=store.uri)
    return store


def test_the_page_is_for_this_machine_alone_and_ends_with_ctrl_c(synced, tmp_path, begin):
    port = free_port()
    process = begin(
        *("open", "--port", port),
        cwd=tmp_path,
        SSH_CONNECTION=SSH,
        USER="ada",
        SLURM_JOB_ID="",
        # What an environment may hold for other servers.
        MLFLOW_HOST="0.0.0.0",
        MLFLOW_SERVER_ALLOWED_HOSTS="*",
        MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE="true",
        MLFLOW_STATIC_PREFIX="/elsewhere",
    )
    page = r"/#/experiments/\d+/runs\?workflowType=machine_learning\n"
    assert re.fullmatch(rf"http://127\.0\.0\.1:{port}{page}", process.stdout.readline())
    assert ask(port, f"127.0.0.1:{port}") == 200  # it is there as soon as the address is printed
    assert ask(port, "localhost:8080") == 200  # at the other end of a tunnel
    search = "/ajax-api/2.0/mlflow/experiments/search?max_results=1"
    assert ask(port, f"127.0.0.1:{port}", search) == 200
    for host in ("evil.example", f"evil.example:{port}", f"192.168.0.1:{port}", "127.0.0.1.evil:1"):
        assert ask(port, host, search) == 403, host
    create, body = "/ajax-api/2.0/mlflow/experiments/create", '{"name": "foreign"}'
    foreign = {"Origin": "http://evil.example", "Content-Type": "application/json"}
    assert ask(port, f"127.0.0.1:{port}", create, "POST", body, **foreign) == 403
    assert listening(port) == {"127.0.0.1"}
    assert synced.only_run().info.status == "FINISHED"  # it has brought what was missing
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert f"ssh -L {port}:127.0.0.1:{port} ada@192.0.2.5" in err
    assert "Traceback" not in err
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() for child in children)
    assert listening(port) == set()


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ({}, None),
        ({"SSH_CONNECTION": SSH}, "ssh -L 5000:127.0.0.1:5000 ada@192.0.2.5"),
        (
            {"SSH_CONNECTION": SSH, "SLURM_JOB_ID": "7", "SLURM_SUBMIT_HOST": "login1"},
            "ssh -L 5000:127.0.0.1:5000 -J ada@192.0.2.5 ada@n17",
        ),
        (
            {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_HOST": "login1"},
            "ssh -L 5000:127.0.0.1:5000 -J ada@login1 ada@n17",
        ),
        ({"SLURM_JOB_ID": "7"}, "ssh -L 5000:127.0.0.1:5000 ada@n17"),
    ],
)
def test_the_way_from_ones_own_machine(environment, command):
    assert tunnel(environment, "ada", "n17", 5000) == command


def test_a_port_that_is_taken_names_the_next_free_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {port}: Address already in use; use another"):
            check_port(port)
    check_port(port)
    for port in (0, -3, 70_000):
        with pytest.raises(UserError, match=r"must be between 1 and 65535"):
            check_port(port)


def test_a_server_that_ends_by_itself_says_why(tmp_path, monkeypatch):
    complaint = ["-c", "import sys; sys.exit('no such table: http://me:t0psecret@host/')"]
    monkeypatch.setattr(ui, "ui_command", lambda port: [ui.sys.executable, *complaint])
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(PreflightError) as caught:
            ui.serve(StoreUri(f"sqlite:///{tmp_path}/mlflow.db"), free_port())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "exit code 1:\n  no such table: http://host/" in str(caught.value)


def test_the_store_is_no_argument_of_the_server():
    store = StoreUri("postgresql://me:t0psecret@db/mlflow")
    assert not any("db/mlflow" in word for word in ui.ui_command(5000))
    environment = ui.ui_environment(store, os.environ)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == store.uri


def test_a_server_is_named_without_its_password(start, tmp_path, monkeypatch, capsys):
    start().end("FINISHED")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:t0psecret@127.0.0.1:9")
    with pytest.raises(
        PreflightError, match=r"MLflow at http://127\.0\.0\.1:9: does not answer"
    ) as no:
        command_module.main(["open"])
    out, err = capsys.readouterr()
    assert out == ""
    assert "not uploaded: digits: MLflow at http://127.0.0.1:9: does not answer" in err
    assert "t0psecret" not in err + str(no.value)


def test_of_a_server_the_page_with_the_runs_is_named(
    start, tmp_path, monkeypatch, capsys, plain_server
):
    start().end("FINISHED")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", plain_server.uri)
    assert command_module.main(["open"]) == 0
    page = r"/#/experiments/\d+/runs\?workflowType=machine_learning\n"
    assert re.fullmatch(re.escape(plain_server.uri) + page, capsys.readouterr().out)


def test_runs_that_have_a_store_keep_it_and_that_is_said(start, tmp_path, monkeypatch, capsys):
    start().end("FINISHED")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert command_module.main(["sync", "--all"]) == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:t0psecret@127.0.0.1:9")
    capsys.readouterr()
    assert command_module.main(["sync", "--all"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "keep their store (sqlite:///" in said
    assert "--uri http://127.0.0.1:9 takes them there" in said
    assert "t0psecret" not in said


def test_open_without_runs_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=r"no runs under runs and no .*mlflow\.db; train first"):
        command_module.main(["open"])
