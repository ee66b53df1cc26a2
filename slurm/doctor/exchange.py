"""This node's part in the all-reduces of two nodes at a time."""

from pipeline.world import World
from slurm.doctor.pairs import partners

_CPU_BYTES = 16 << 20
_GPU_BYTES = 256 << 20
"""Of one all-reduce: large enough that its start-up does not count."""
_MEETING_S = 20


def exchange(world: World, device: str) -> dict[int, float | str]:
    """MB/s with each other rank, or why there was no exchange; see pair_rates."""
    from pipeline.collective.pair_rates import pair_rates

    kind, num_bytes = ("cuda", _GPU_BYTES) if device == "cuda" else ("cpu", _CPU_BYTES)
    return pair_rates(world, partners(world.rank, world.size), kind, num_bytes, _MEETING_S)


def limit_s(nodes: int) -> float:
    """How long that takes at most, imports and a few that do not answer included."""
    return 180 + 5 * nodes
