"""A filled table: its rows, and how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.compare.judging.groups import Spread
from pipeline.compare.paper.rows import PaperRow
from pipeline.compare.run import Run

if TYPE_CHECKING:
    from rich.table import Table as RichTable

NO_RUN = "no run"
PAPER_ONLY = "paper only"
_STATUS_WORDS = {
    "FINISHED": "ended early",
    "RUNNING": "running",
    "FAILED": "failed",
    "KILLED": "stopped",
    "REQUEUED": "queued again",
    "LOST": "lost",
    "NEW": "not started",
}
"""Of runs that have not done all their epochs."""


@dataclass(frozen=True)
class FilledRow:
    """A row of the paper and the runs that belong to it; top-1 in percent, differences in points.

    ``runs`` are all of them, ``counted`` those behind ``ours`` (the last epoch's top-1) and
    ``best``: the complete ones if there are any, one per seed. ``difference`` is ours less the
    paper's; ``low`` and ``high`` are the 95 % interval of ``ours_to_baseline``. None is what is
    not known or, before all epochs are done, not yet worth saying.
    """

    paper: PaperRow
    runs: tuple[Run, ...]
    counted: tuple[Run, ...]
    is_complete: bool
    ours: Spread | None
    best: Spread | None
    difference: float | None = None
    ours_to_baseline: float | None = None
    theirs_to_baseline: float | None = None
    low: float | None = None
    high: float | None = None
    nearest: str | None = None

    @property
    def planned_epochs(self) -> int | None:
        """Of the whole schedule, cool-down included."""
        config = self.paper.config
        return None if config is None else config.train.epochs + config.optim.cooldown_epochs

    @property
    def epochs_done(self) -> tuple[float, ...]:
        """Fewest and most of the counted runs; one number where these are the same."""
        done = sorted({run.epochs for run in self.counted if run.epochs is not None})
        return tuple(done) if len(done) < 2 else (done[0], done[-1])

    @property
    def status(self) -> str:
        if self.paper.config is None:
            return PAPER_ONLY
        if not self.runs:
            return NO_RUN
        words = "finished"
        if not self.is_complete:
            shown = self.counted or self.runs
            words = ", ".join(dict.fromkeys(_STATUS_WORDS[run.status] for run in shown))
        return words if self.ours else f"{words}, no top-1"


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper with ours beside theirs."""

    name: str
    title: str
    rows: Sequence[FilledRow]
    has_baseline: bool
    base: Path | None
    notes: list[str]

    @property
    def full_title(self) -> str:
        return self.title if self.base is None else f"{self.title}; built on {self.base}"

    def terminal(self) -> "RichTable":
        """For a terminal of 100 characters or more; the notes are not in it."""
        from pipeline.compare.paper.showing import terminal

        return terminal(self)

    def markdown(self) -> str:
        """With title and notes."""
        from pipeline.compare.paper.showing import markdown

        return markdown(self)

    def csv(self) -> str:
        """A line per row of the table, with a header; numbers as they are."""
        from pipeline.compare.paper.records import csv_text

        return csv_text(self)

    def as_json(self) -> dict[str, Any]:
        """All that is known, as JSON values."""
        from pipeline.compare.paper.records import as_json

        return as_json(self)

    def svg(self) -> str:
        """A picture: a row each, ours and the paper's as dots."""
        from pipeline.compare.paper.picture import picture

        return picture(self)
