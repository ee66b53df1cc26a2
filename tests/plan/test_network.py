"""How long collectives take, by hand; and what can be typed for a network."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.plan.network import REACHED, ROUNDS, Collective, Kind, Link, Network, parse_link

FAST, SLOW = Link(400e9, 2e-6), Link(10e9, 10e-6)
NETWORK = Network(inside=FAST, between=SLOW)
KINDS = st.sampled_from(sorted(ROUNDS))


def test_a_ring_by_hand() -> None:
    gather = Collective("all_gather", 8e9, 3, overlaps=False)
    # 16 ranks on 2 nodes: 15/16 of 8 GB over the slowest link, 14 hops inside and 1 between.
    sent = 8e9 * 15 / 16
    assert gather.sent_bytes(16) == sent
    assert gather.seconds(2, 8, NETWORK) == pytest.approx(sent / 10e9 + 3 * (14 * 2e-6 + 10e-6))
    # On one node only its own links count, and a node of one rank has none.
    assert gather.seconds(1, 8, NETWORK) == pytest.approx(8e9 * 7 / 8 / 400e9 + 3 * 7 * 2e-6)
    assert gather.seconds(4, 1, Network(Link(1.0, 1.0), SLOW)) == pytest.approx(
        8e9 * 3 / 4 / 10e9 + 3 * 3 * 10e-6
    )


def test_an_all_reduce_takes_the_tree_where_hops_are_what_costs() -> None:
    small = Collective("all_reduce", 4096.0, 1, overlaps=False)
    tree = 2 * (7 * 2e-6 + math.log2(64) * 10e-6)
    assert small.seconds(64, 8, NETWORK) == pytest.approx(tree, rel=0.01)
    large = Collective("all_reduce", 4e9, 1, overlaps=False)
    ring = 2 * 4e9 * 511 / 512 / 10e9 + 2 * (448 * 2e-6 + 63 * 10e-6)
    assert large.seconds(64, 8, NETWORK) == pytest.approx(ring)


@given(kind=KINDS, size=st.floats(1, 1e11), nodes=st.integers(1, 64), per_node=st.integers(1, 8))
def test_more_bytes_and_slower_links_never_help(
    kind: Kind, size: float, nodes: int, per_node: int
) -> None:
    seconds = Collective(kind, size, 2, overlaps=False).seconds(nodes, per_node, NETWORK)
    assert (seconds == 0) == (nodes * per_node == 1)
    assert seconds <= Collective(kind, 2 * size, 2, overlaps=False).seconds(
        nodes, per_node, NETWORK
    )
    slower = Network(Link(FAST.bytes_per_second / 2, FAST.hop_s), Link(5e9, SLOW.hop_s))
    assert seconds <= Collective(kind, size, 2, overlaps=False).seconds(nodes, per_node, slower)


@pytest.mark.parametrize(
    ("text", "bytes_per_second"),
    [
        ("400Gb/s", 50e9 * REACHED),
        ("8x200Gb/s", 200e9 * REACHED),
        ("100Mb/s", 12.5e6 * REACHED),
        ("42GB/s", 42e9),
        ("2x1.5GB/s", 3e9),
        ("ndr", 50e9 * REACHED),
    ],
)
def test_bits_are_nominal_and_bytes_were_measured(text: str, bytes_per_second: float) -> None:
    found, words = parse_link(text, {"ndr": "400Gb/s"})
    assert found == pytest.approx(bytes_per_second)
    assert words.startswith(text) and ("85%" in words) == ("b/s" in words)


@pytest.mark.parametrize(
    "text", ["", "fast", "400", "400Gb", "-4Gb/s", "0Gb/s", "0x4Gb/s", "4TB/s"]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^--link .* is no network; .*8x200Gb/s.*ndr \(400Gb/s\)$"):
        parse_link(text, {"ndr": "400Gb/s"})
