"""The tournament of nodes, and what its rates say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.doctor.pairs import judge, partners

NODES = ["n1", "n2", "n3", "n4", "n5"]


@given(st.integers(1, 40))
def test_each_two_meet_once_and_at_the_same_time(size: int) -> None:
    rounds = list(zip(*(partners(rank, size) for rank in range(size)), strict=True))
    met = []
    for partner_of in rounds:
        for rank, partner in enumerate(partner_of):
            assert partner != rank
            if partner is not None:
                assert partner_of[partner] == rank
                met.append(frozenset((rank, partner)))
    assert len(met) == size * (size - 1) and len(set(met)) == len(met) / 2
    assert len(rounds) == max(size - 1 + size % 2, 1)


def table(size: int, **others: float | str) -> dict[int, dict[int, float | str]]:
    """1000 MB/s between all, but for ``r1_2=...``."""
    rates: dict[int, dict[int, float | str]] = {
        a: {b: 1000.0 for b in range(size) if b != a} for a in range(size)
    }
    for name, rate in others.items():
        a, b = map(int, name[1:].split("_"))
        rates[a][b] = rates[b][a] = rate
    return rates


def states(rates: dict[int, dict[int, float | str]]) -> dict[str, str]:
    return {finding.node: finding.state for finding in judge(rates, NODES)}


def test_equal_nodes_are_well() -> None:
    findings = judge(table(4), NODES)
    assert {f.state for f in findings} == {"ok"} and len(findings) == 4
    assert "1,000 MB/s with 3 nodes (least with n2: 1,000)" in findings[0].reason


def test_a_slow_node_is_named_and_the_others_are_not() -> None:
    slow = table(4, r0_2=100.0, r1_2=100.0, r2_3=100.0)
    assert states(slow) == {"n1": "ok", "n2": "ok", "n3": "warn", "n4": "ok"}
    [finding] = [f for f in judge(slow, NODES) if f.state == "warn"]
    assert "the usual is 1,000" in finding.reason and "put n3 into" in finding.remedy


def test_a_slow_link_blames_no_node() -> None:
    assert set(states(table(4, r0_2=100.0)).values()) == {"ok"}


def test_a_silent_node_fails_and_its_partners_are_warned() -> None:
    silent = table(4, r0_2="timeout", r1_2="timeout", r2_3="timeout")
    assert states(silent) == {"n1": "warn", "n2": "warn", "n3": "fail", "n4": "warn"}


def test_of_two_that_cannot_talk_both_fail() -> None:
    rates = table(2, r0_1="Connection refused")
    assert states(rates) == {"n1": "fail", "n2": "fail"}
    assert "no exchange with n2: Connection refused" in judge(rates, NODES)[0].reason


def test_nodes_that_never_measured_are_left_to_others() -> None:
    assert judge({}, NODES) == []


@pytest.mark.parametrize("size", [1, 2])
def test_smallest_worlds(size: int) -> None:
    assert partners(0, size) == ([None] if size == 1 else [1])
