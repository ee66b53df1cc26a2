"""Silence of a run on another host: gone, or only far away."""

import os

import pytest

from pipeline.tracking import lifecycle as lifecycle_module
from pipeline.tracking.lifecycle import Lifecycle

NOW_MS = 1_700_000_000_000
EVERY = "tracking.system_every_s"


@pytest.fixture(autouse=True)
def now(monkeypatch):
    monkeypatch.setattr(lifecycle_module, "now_ms", lambda: NOW_MS)


def status_after(silent_s, params, tags=None, host="elsewhere"):
    process = {"pid": os.getpid(), "host": host, "started_s": 1.0}
    lifecycle = Lifecycle()
    last_ms = NOW_MS - silent_s * 1000
    lifecycle.see(
        [
            {"kind": "start", "t_ms": 1, "step": 0, "process": process},
            {"kind": "params", "t_ms": 2, "step": 0, "params": params},
            {"kind": "tags", "t_ms": 3, "step": 0, "tags": tags or {}},
            {"kind": "system", "t_ms": last_ms, "step": 9, "metrics": {}},
        ]
    )
    return lifecycle.status


@pytest.mark.parametrize(
    ("silent_s", "params", "tags", "status"),
    [
        (899, {EVERY: "10.0"}, {}, "RUNNING"),
        (901, {EVERY: "10.0"}, {}, "LOST"),
        (-3600, {EVERY: "10.0"}, {}, "RUNNING"),  # its clock is ahead
        (1999, {EVERY: "200"}, {}, "RUNNING"),
        (2001, {EVERY: "200"}, {}, "LOST"),
        (1999, {EVERY: "10"}, {f"latest.{EVERY}": "200"}, "RUNNING"),
        (2001, {EVERY: "10"}, {f"latest.{EVERY}": "200"}, "LOST"),
        (10**6, {}, {}, "RUNNING"),  # who knows how often it writes
        (10**6, {EVERY: "often"}, {}, "RUNNING"),
    ],
)
def test_silence_of_another_host(silent_s, params, tags, status):
    assert status_after(silent_s, params, tags) == status


def test_a_later_record_takes_the_loss_back():
    lifecycle = Lifecycle()
    process = {"pid": 1, "host": "elsewhere", "started_s": 1.0}
    lifecycle.see([{"kind": "start", "t_ms": 1, "step": 0, "process": process}])
    lifecycle.see([{"kind": "params", "t_ms": 1, "step": 0, "params": {EVERY: "10"}}])
    assert lifecycle.status == "LOST"
    lifecycle.see([{"kind": "system", "t_ms": NOW_MS, "step": 0, "metrics": {}}])
    assert lifecycle.status == "RUNNING"


def test_who_has_seen_only_starts_and_ends_says_nothing_of_silence():
    lifecycle = Lifecycle()
    process = {"pid": 1, "host": "elsewhere", "started_s": 1.0}
    lifecycle.see([{"kind": "start", "t_ms": 1, "step": 0, "process": process}])
    assert lifecycle.status == "RUNNING"
