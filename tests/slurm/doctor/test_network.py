"""Names and interfaces: those that other nodes reach, and the usual traps."""

import pytest

from pipeline.config import Config
from slurm.doctor.finding import Verdict
from slurm.doctor.network import (
    Interface,
    first_node,
    host_name,
    interfaces,
    interfaces_verdict,
    name_verdict,
)
from slurm.doctor.subject import Subject

CONFIG = Config(device="cpu")
PRESENT = [
    Interface("lo", "127.0.0.1", True),
    Interface("eth0", "10.1.0.7", True),
    Interface("ib0", "10.2.0.7", True),
    Interface("ib1", "10.3.0.7", False),
]


def verdict_of_name(
    address: str, must_be_reached: bool = True, is_interface_set: bool = False
) -> Verdict:
    return name_verdict("node7", address, must_be_reached, is_interface_set, PRESENT)


def test_a_name_that_others_reach() -> None:
    assert verdict_of_name("10.1.0.7").state == "ok"


@pytest.mark.parametrize("address", ["127.0.1.1", "Name or service not known"])
def test_the_trap_of_etc_hosts(address: str) -> None:
    verdict = verdict_of_name(address)
    assert verdict.state == "fail" and "eth0 or ib0" in verdict.remedy
    assert verdict_of_name(address, is_interface_set=True).state == "ok"


def test_alone_a_name_on_loopback_is_well() -> None:
    assert verdict_of_name("127.0.1.1", must_be_reached=False).state == "ok"
    assert verdict_of_name("unknown", must_be_reached=False).state == "warn"


def test_nodes_that_share_a_machine_find_each_other() -> None:
    # As on the cluster of the tests, whose nodes are not called like the machine.
    assert host_name(Subject(CONFIG, "n1", nodes=2, is_in_job=True)).state == "ok"


def test_the_meeting_point(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Subject(CONFIG, "n1", nodes=2, is_in_job=True)
    assert first_node(Subject(CONFIG, "n1")) is None
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    verdict = first_node(job)
    assert verdict is not None and verdict.state == "ok"
    monkeypatch.setenv("MASTER_ADDR", "no-such-node.invalid")
    verdict = first_node(job)
    assert verdict is not None and verdict.state == "fail"


def test_interfaces_of_this_machine() -> None:
    assert any(interface.is_loopback and interface.is_up for interface in interfaces())


@pytest.mark.parametrize(
    ("environment", "state", "part"),
    [
        ({}, "ok", "there are: eth0 (10.1.0.7), ib0 (10.2.0.7)"),
        ({"GLOO_SOCKET_IFNAME": "ib0"}, "ok", "ib0 10.2.0.7"),
        ({"GLOO_SOCKET_IFNAME": "ib"}, "fail", "not on this machine; there are: eth0"),
        ({"GLOO_SOCKET_IFNAME": "ib1"}, "fail", "GLOO_SOCKET_IFNAME=ib1 is down"),
        ({"NCCL_SOCKET_IFNAME": "ib"}, "ok", "NCCL_SOCKET_IFNAME=ib: ib0 10.2.0.7"),
        ({"NCCL_SOCKET_IFNAME": "=ib"}, "fail", "NCCL_SOCKET_IFNAME==ib is not on this"),
        ({"NCCL_SOCKET_IFNAME": "^eth,lo,ib1"}, "ok", "ib0 10.2.0.7"),
        ({"NCCL_SOCKET_IFNAME": "^eth,lo,ib"}, "fail", "not on this machine"),
    ],
)
def test_prescribed_interfaces(environment: dict[str, str], state: str, part: str) -> None:
    verdict = interfaces_verdict(environment, PRESENT)
    assert verdict.state == state and part in verdict.reason, verdict
