"""How long collectives take: an alpha-beta model of rings and trees. Pure.

Time = hops x latency + bytes sent / bandwidth, as NCCL itself reckons when it chooses between
its algorithms (src/graph/tuning.cc, NCCL 2.20); bandwidth is that of a ring, which is limited by
its slowest link ("bus bandwidth", nccl-tests' PERFORMANCE.md).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UserError

Kind = Literal["all_reduce", "reduce_scatter", "all_gather"]
ROUNDS: dict[Kind, int] = {"all_reduce": 2, "reduce_scatter": 1, "all_gather": 1}
"""How often the payload goes round a ring."""
REACHED = 0.85
"""Of a nominal speed in bits, and of NVLink's and PCIe's: what collectives are taken to reach.
Assumed."""
NVLINK_HOP_S, PCIE_HOP_S, NETWORK_HOP_S = 3.4e-6, 5.7e-6, 14e-6
"""NCCL's own figures for rings in its Simple protocol."""
TREE_BANDWIDTH = 0.92
"""Of a ring's, by NCCL."""
_UNITS = {"Gb": 1e9 / 8, "Mb": 1e6 / 8, "GB": 1e9, "MB": 1e6}
_SPEED = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)([GM][bB])/s")


@dataclass(frozen=True)
class Link:
    """One direction of a connection, all its adapters together."""

    bytes_per_second: float
    hop_s: float


@dataclass(frozen=True)
class Network:
    """What ranks are joined by: within a node, and each node with the others."""

    inside: Link
    between: Link


@dataclass(frozen=True)
class Collective:
    """Calls that together are handed ``payload_bytes`` on each rank."""

    kind: Kind
    payload_bytes: float
    calls: int
    overlaps: bool
    """With the backward pass."""

    def sent_bytes(self, ranks: int) -> float:
        """What a rank sends where all form a ring (Patarasuk and Yuan 2009, doi
        10.1016/j.jpdc.2008.09.002)."""
        return self.payload_bytes * ROUNDS[self.kind] * (ranks - 1) / ranks

    def seconds(self, nodes: int, ranks_per_node: int, network: Network) -> float:
        """On ``nodes`` times ``ranks_per_node`` ranks; 0 on one."""
        ranks = nodes * ranks_per_node
        if ranks == 1:
            return 0.0
        speeds = [network.between.bytes_per_second] if nodes > 1 else []
        speeds += [network.inside.bytes_per_second] if ranks_per_node > 1 else []
        sending_s = self.sent_bytes(ranks) / min(speeds)
        inside_s, between_s = network.inside.hop_s, network.between.hop_s
        ring_s = ROUNDS[self.kind] * ((ranks - nodes) * inside_s + (nodes - 1) * between_s)
        seconds = self.calls * ring_s + sending_s
        if self.kind == "all_reduce":
            tree_s = 2 * ((ranks_per_node - 1) * inside_s + math.log2(nodes) * between_s)
            seconds = min(seconds, self.calls * tree_s + sending_s / TREE_BANDWIDTH)
        return seconds


def parse_link(text: str, names: Mapping[str, str]) -> tuple[float, str]:
    """Bytes per second of a node's network in one direction, and the words for it.

    text: a name, or a speed. In bits (``400Gb/s``, ``8x200Gb/s`` for eight adapters) it is
    nominal, of which ``REACHED`` counts; in bytes (``42GB/s``) it was measured, and counts whole.
    Raises UserError.
    """
    found = _SPEED.fullmatch(names.get(text, text))
    speed = float(found[2]) * int(found[1] or 1) if found else 0.0
    if found is None or speed == 0.0:
        raise UserError(
            f"--link {text} is no network; give the speed of a node's adapters in bits "
            "(400Gb/s, 8x200Gb/s), a measured one in bytes (42GB/s), or a name: "
            + ", ".join(f"{name} ({value})" for name, value in names.items())
        )
    is_nominal = found[3].endswith("b")
    words = found[0] if text == found[0] else f"{text} ({found[0]})"
    if is_nominal:
        words += f", of which {REACHED:.0%} is taken to be reached"
    return speed * _UNITS[found[3]] * (REACHED if is_nominal else 1.0), words
