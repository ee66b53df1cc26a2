"""All runs of a folder in a table, read from what is quick to read."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.log import console, info
from slurm.watch.fitted_table import ABSENT, Column, draw
from slurm.watch.run_facts import RunFacts
from slurm.watch.run_rows import Row, rows_of
from slurm.watch.status import look

_COLUMNS = (
    *(("run", False, 0), ("state", False, 0), ("created", False, 1)),
    *(("step", True, 0), ("top-1", True, 2), ("jobs", True, 3)),
)
"""Name, whether it has numbers, and which of them goes first where there is no room."""


@dataclass(frozen=True)
class Listed:
    """A run, by the stage of it that matters most."""

    facts: RunFacts
    row: Row

    def as_json(self) -> dict[str, Any]:
        facts = self.facts
        return {
            "run": facts.name,
            "stage": self.row.stage,
            "state": self.row.state,
            "detail": self.row.detail,
            "created_s": self._created_s,
            "jobs": [job.job_id for job in facts.jobs],
            "step": facts.step,
            "total_steps": facts.total_steps,
            "top1": facts.top1,
            "faults": len(facts.faults),
            "run_folder": str(facts.folder.path),
        }

    @property
    def _created_s(self) -> float | None:
        submitted = [job.submitted_s for job in self.facts.jobs[:1]]
        known = [moment for moment in (self.facts.created_s, *submitted) if moment is not None]
        return min(known, default=None)

    def cells(self) -> list[str]:
        facts, created_s = self.facts, self._created_s
        state = self.row.state
        return [
            facts.name,
            state if self.row.stage == "train" else f"{self.row.stage}: {state}",
            ABSENT
            if created_s is None
            else time.strftime("%Y-%m-%d %H:%M", time.localtime(created_s)),
            ABSENT if facts.step is None else f"{facts.step:,}/{facts.total_steps:,}",
            ABSENT if facts.top1 is None else f"{facts.top1:.2f}",
            ", ".join(job.job_id for job in facts.jobs[-3:]) or "local",
        ]


def list_all(folders: Sequence[Path], runs_root: str, as_json: bool) -> None:
    """Print every run, the newest last."""
    runs, answer = look(folders)
    listed = [Listed(facts, _main(rows_of(facts, answer, time.time()))) for facts in runs]
    listed.sort(key=lambda one: one.facts.latest_s)
    if as_json:
        print(json.dumps([one.as_json() for one in listed], indent=2))
        return
    if not listed:
        info(f"no runs under {runs_root}; --runs-root names another folder")
        return
    cells = zip(*(one.cells() for one in listed), strict=True)
    columns = [
        Column(name, column, is_number, rank)
        for (name, is_number, rank), column in zip(_COLUMNS, cells, strict=True)
    ]
    out = console(stderr=False)
    out.print(draw(columns, out.width, lambda _: ""), soft_wrap=False)


def _main(rows: Sequence[Row]) -> Row:
    """The stage that is at work, else the training."""
    going_on = [row for row in rows if row.state in ("starting", "running", "stuck")]
    trainings = [row for row in rows if row.stage == "train"]
    return (going_on or trainings or list(rows))[0]
