"""The columns of the table: what each shows of a group of seeds, and of a single run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.compare.judging.groups import Group, Spread
from pipeline.compare.run import Run
from pipeline.compare.text.wording import (
    ABSENT,
    best_label,
    cost_label,
    count_text,
    hours_text,
    run_status_text,
    spread_text,
    status_text,
    wall_text,
)

Order = Literal["ascending", "descending"]


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number that it is sorted by: None goes last."""

    text: str
    number: float | None


@dataclass(frozen=True)
class Column:
    """A column of numbers. ``first``: the order that the first click on its head sorts in."""

    key: str
    head: str
    hint: str
    first: Order
    spread: Callable[[Group], Spread | None]
    value: Callable[[Run], float | None]
    show: Callable[[Spread], str]

    def of_group(self, group: Group) -> Cell:
        found = self.spread(group)
        if found is None:
            return Cell(ABSENT, None)
        text = self.show(found)
        # Of some seeds it may be unknown.
        return Cell(
            text if found.n == len(group.counted) else f"{text} (n = {found.n})", found.mean
        )

    def of_run(self, run: Run) -> Cell:
        value = self.value(run)
        return (
            Cell(ABSENT, None) if value is None else Cell(self.show(Spread(value, None, 1)), value)
        )


def best_column(groups: Sequence[Group]) -> Column:
    """The one that decides."""
    return Column(
        "best",
        "best",
        f"{best_label(groups)} of all evaluations, in percent: mean ± standard deviation",
        "descending",
        lambda group: group.best_top1,
        lambda run: None if run.best is None else run.best.top1,
        spread_text,
    )


FINAL = Column(
    "final",
    "final",
    "val/top1 of the last evaluation, in percent: mean ± standard deviation",
    "descending",
    lambda group: group.final_top1,
    lambda run: run.final_top1,
    spread_text,
)
LOSS = Column(
    "loss",
    "val/loss",
    "of the last evaluation: mean ± standard deviation",
    "ascending",
    lambda group: group.final_val_loss,
    lambda run: run.final_val_loss,
    lambda found: spread_text(found, "{:.4f}"),
)


def cost_columns(groups: Sequence[Group]) -> list[Column]:
    """What a run of each group cost, on average."""
    return [
        Column(
            "gpu_hours",
            cost_label(groups),
            "hours times ranks over all launches, the mean of a run",
            "ascending",
            lambda group: group.gpu_hours,
            lambda run: run.gpu_hours,
            hours_text,
        ),
        Column(
            "images",
            "images",
            "training images seen, the mean of a run",
            "ascending",
            lambda group: group.images,
            lambda run: run.images,
            count_text,
        ),
        Column(
            "wall",
            "wall time",
            "at work over all launches, without the time in queues, the mean of a run",
            "ascending",
            lambda group: group.wall_s,
            lambda run: run.wall_s,
            wall_text,
        ),
        Column(
            "speed",
            "images/s",
            "median of the training",
            "descending",
            lambda group: group.images_per_second,
            lambda run: run.images_per_second,
            count_text,
        ),
    ]


def group_status(group: Group) -> str:
    """In lower case: the page is no log."""
    return status_text(group).lower()


def run_status(run: Run) -> str:
    return run_status_text(run).lower()
