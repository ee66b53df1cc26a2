"""The disturbed trainings of the full test: how many nodes, and which faults."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.slurm.chaos.findings import Cost
from tests.slurm.chaos.scene import Start

_HARD = ("kill", "node", "stop")
_SOFT = ("requeue", "signal", "preempt")
_AROUND = ("controller", "disk", "mlflow")


@dataclass(frozen=True)
class Scenario:
    """A rank per node."""

    name: str
    min_nodes: int
    nodes: int
    kinds: tuple[str, ...]
    """Faults while it trains."""
    hasty: tuple[str, ...]
    """Faults while it starts again after one of those."""
    steps: int

    @property
    def last_fault_step(self) -> int:
        """Steps go by while some faults happen: later ones must not come after the end."""
        return self.steps * 6 // 10

    @property
    def words(self) -> list[str]:
        """Its settings on a command line."""
        return [
            f"elastic.min_nodes={self.min_nodes}",
            f"elastic.max_nodes={self.nodes}",
            "engine.cpu_tasks=1",
            "engine.collective_timeout_s=45",
        ]

    def flaws(self, starts: Sequence[Start]) -> list[str]:
        """Worlds that it should have had, and had not."""
        worlds = [start.ranks for start in starts if start.resumed_after is not None]
        if self.min_nodes == self.nodes:
            return [] if set(worlds) == {self.nodes} else [f"ranks were {worlds}"]
        fewer = [number for number, ranks in enumerate(worlds) if ranks == self.nodes - 1]
        if not fewer:
            return [f"never on {self.nodes - 1} nodes: {worlds}"]
        is_back = self.nodes in worlds[fewer[0] :]
        return [] if is_back else [f"never again on {self.nodes} nodes: {worlds}"]


SCENARIOS = (
    Scenario(
        "4 of 8 nodes",
        min_nodes=4,
        nodes=4,
        kinds=(*_HARD, *_SOFT, *_AROUND, *_HARD, *_AROUND),
        hasty=("kill", "signal", "limit"),
        steps=600,
    ),
    Scenario(
        "7 or 8 of 8 nodes",
        min_nodes=7,
        nodes=8,
        kinds=(*_HARD, *_SOFT, *_AROUND, "node", "node", "kill"),
        hasty=("kill", "limit"),
        steps=400,
    ),
)


def table(title: str, costs: Sequence[Cost], began_s: float) -> str:
    """What a person reads of one training."""
    rows = [("after s", "step", "fault", "victim", "s lost", "steps repeated", "ranks then")]
    for cost in costs:
        fault = cost.fault
        rows.append(
            (
                f"{fault.at_s - began_s:.0f}",
                str(fault.step),
                fault.title,
                fault.victim,
                f"{cost.seconds_lost:.1f}",
                str(cost.steps_repeated),
                str(cost.ranks or ""),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = (2, 3)
    lines = [
        "  ".join(
            text.ljust(width) if place in left else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([title, *(f"  {line.rstrip()}" for line in lines)])
