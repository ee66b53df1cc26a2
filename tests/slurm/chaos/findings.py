"""What the faults cost, and whether they left a trace; pure."""

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from pipeline.tracking.journal import Record, metric_values
from tests.slurm.chaos.faults import KINDS
from tests.slurm.chaos.run import Disturbed, Injected
from tests.slurm.chaos.scene import Start

NUDGES = 3.0
"""How many times as far apart as the typical nudge drives the training; see parity's judge."""
Point = tuple[str, int, int, float]
"""Key, step, milliseconds since the epoch, value."""


@dataclass(frozen=True)
class Cost:
    """Of one fault."""

    fault: Injected
    seconds_lost: float
    """From the fault on without a new step; of a hasty one they are those of the one before."""
    repeated: tuple[int, ...]
    """Steps that each start before the next fault did again."""
    ranks: int | None
    """Of the last of these starts."""

    @property
    def steps_repeated(self) -> int:
        """In all."""
        return sum(self.repeated)


def costs(disturbed: Disturbed) -> list[Cost]:
    """Of every fault, in their order."""
    times = [at_s for _, at_s in disturbed.journal.points]
    gaps = list(itertools.pairwise(times))
    usual_s = statistics.median(after - before for before, after in gaps)
    faults = disturbed.faults
    # A fault comes while the job trains: the pause that follows is none of an earlier one's.
    owners = [fault for fault in faults if not fault.is_hasty]
    longest = dict.fromkeys(owners, 0.0)
    for before, after in gaps:
        behind = [fault for fault in owners if fault.at_s < after]
        if behind:
            pause_s = after - max(before, behind[-1].at_s) - usual_s
            longest[behind[-1]] = max(longest[behind[-1]], pause_s)
    ends = [fault.at_s for fault in faults[1:]] + [float("inf")]
    return [
        Cost(
            fault,
            round(longest.get(fault, 0.0), 1),
            *_starts_between(disturbed, fault.at_s, until_s),
        )
        for fault, until_s in zip(faults, ends, strict=True)
    ]


def _starts_between(
    disturbed: Disturbed, from_s: float, to_s: float
) -> tuple[tuple[int, ...], int | None]:
    """Steps that each start of that time did again, and the ranks of the last of them."""
    by_attempt = {start.attempt: start for start in disturbed.starts}
    repeated: list[int] = []
    ranks = None
    for attempt, done, at_s in disturbed.journal.starts:
        start = by_attempt.get(attempt)
        if from_s < at_s <= to_s and start and start.resumed_after is not None:
            repeated.append(max(0, done - start.resumed_after))
            ranks = start.ranks
    return tuple(repeated), ranks


def too_many_repeated(found: Iterable[Cost], checkpoint_steps: int) -> list[str]:
    """Faults after which a start did more steps again than it may."""
    wrong: list[str] = []
    for cost in found:
        loses = KINDS[cost.fault.kind].may_repeat_steps or cost.fault.is_hasty
        if max(cost.repeated, default=0) > (checkpoint_steps if loses else 0):
            wrong.append(f"{cost.repeated} steps repeated after {cost.fault}")
    return wrong


def points_of(records: Iterable[Record]) -> list[Point]:
    """What a journal has MLflow know, sorted."""
    return sorted(
        (key, int(record["step"]), int(record["t_ms"]), value)
        for record in records
        if record["kind"] in ("metrics", "system")
        for key, value in metric_values(record).items()
    )


def journal_flaws(records: Sequence[Record], steps: int) -> list[str]:
    """Steps that are not there once, and points that are there twice."""
    metrics = [record for record in records if record["kind"] == "metrics"]
    trained = {record["step"] for record in metrics if "train/loss" in record["metrics"]}
    wanted = {*range(1, steps + 1)}
    flaws = [f"journal lacks step {step}" for step in sorted(wanted - trained)]
    flaws += [f"journal has step {step}" for step in sorted(trained - wanted)]
    counts = Counter((key, record["step"]) for record in metrics for key in record["metrics"])
    twice = [(*point, count) for point, count in counts.items() if count > 1]
    return flaws + [f"journal has {key} of step {step} {n} times" for key, step, n in twice]


def mlflow_flaws(
    statuses: Sequence[str], points: Sequence[Point], journal: Sequence[Point]
) -> list[str]:
    """How MLflow differs from one finished run with every point of the journal once."""
    flaws = [] if list(statuses) == ["FINISHED"] else [f"MLflow's runs: {list(statuses)}"]
    missing, more = Counter(journal) - Counter(points), Counter(points) - Counter(journal)
    flaws += [f"MLflow lacks {missing.total()}: {sorted(missing)[:3]}"] if missing else []
    return flaws + ([f"MLflow has besides {more.total()}: {sorted(more)[:3]}"] if more else [])


def steps_on_one_world(starts: Sequence[Start], world: int) -> int | None:
    """The step after which another world went on than ``world``; None where none did."""
    for start in starts:
        if start.resumed_after is not None and start.ranks != world:
            return start.resumed_after
    return None


def ulp_bound(alone: Tensor, nudged: Sequence[Tensor]) -> float:
    """How far apart what two trainings give may lie that differ by rounding."""
    return NUDGES * statistics.median(apart(other, alone) for other in nudged)


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference."""
    return float((ours.double() - theirs.double()).abs().max())
