"""Clocks that agree, and clocks that do not."""

import socket
import time
from pathlib import Path

import pytest

from pipeline.config import Config
from slurm.doctor.clocks import file_server_clock, serve_time, skew_to, skew_verdict
from slurm.doctor.subject import Subject


def test_this_machine_agrees_with_its_own_files(tmp_path: Path) -> None:
    verdict = file_server_clock(Subject(Config(runs_root=str(tmp_path)), "n1"))
    assert verdict.state == "ok", verdict
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ahead_s", [0.0, 100.0, -3.0])
def test_the_skew_is_what_the_clocks_differ_by(ahead_s: float) -> None:
    port = serve_time("127.0.0.1", clock=lambda: time.time() - ahead_s)
    skew_s, within_s = skew_to("127.0.0.1", port)
    assert abs(skew_s - ahead_s) <= within_s + 1e-3 and within_s < 0.5


def test_one_who_only_connects_holds_nobody_up_for_long() -> None:
    port = serve_time("127.0.0.1")
    with socket.create_connection(("127.0.0.1", port)):
        pass
    assert abs(skew_to("127.0.0.1", port)[0]) < 0.5


def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        skew_to("127.0.0.1", port)


@pytest.mark.parametrize(
    ("skew_s", "within_s", "state", "part"),
    [
        (0.0, 1e-5, "ok", "agrees with it (within 10 ms)"),
        (0.3, 1e-3, "ok", "300 ms ahead of it"),
        (-4.0, 0.1, "warn", "4.0 s behind it"),
        (4.0, 4.0, "ok", "agrees with it (within 4.0 s)"),
        (-4000.0, 0.1, "fail", "4,000.0 s behind it"),
    ],
)
def test_how_much_is_too_much(skew_s: float, within_s: float, state: str, part: str) -> None:
    verdict = skew_verdict(skew_s, within_s, "it")
    assert (verdict.state, verdict.reason) == (state, part)
    assert ("set the clock" in verdict.remedy) == (state != "ok")
