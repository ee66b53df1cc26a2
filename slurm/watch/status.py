"""The state of runs as a table, as JSON, and as a table that is drawn again and again."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape

from pipeline.errors import UserError
from pipeline.log import console, duration, info, warn
from slurm.watch.controller import SQUEUE_KEPT_S, Answer, ask
from slurm.watch.fitted_table import ABSENT, Column, draw
from slurm.watch.run_facts import RunFacts, read_facts
from slurm.watch.run_rows import Row, rows_of
from slurm.watch.run_state import GOES_ON, State, Word, is_cancelled

REFRESH_S = 2.0
"""Between two looks into the run folders."""
ASK_EVERY_S = 15.0
"""Between two questions to Slurm, while somebody watches."""
_FORGOTTEN_S = 30 * 86400
"""A job that was submitted, and last gave a sign of life, longer ago is not asked about."""
_REMOVED_S = 3600
"""By then Slurm has ended a job that was cancelled."""
_SHOWN_S: dict[Word, float] = {"finished": 86400, "new": 86400}
_ELSE_SHOWN_S = 7 * 86400
"""For how long the end of a run is worth a row that nobody asked for."""
_STYLES: dict[Word, str] = {
    "running": "green",
    "finished": "bold green",
    "failed": "red",
    "lost": "red",
    "stuck": "red",
    "never starts": "red",
    "ending": "yellow",
    "cancelling": "yellow",
    "cancelled": "yellow",
    "requeued": "yellow",
}
_NAMED = 3
"""Runs named before a reason that many share."""


def look(folders: Sequence[Path], kept_s: float = SQUEUE_KEPT_S) -> tuple[list[RunFacts], Answer]:
    """Read run folders, and ask Slurm about the jobs in them that are not over."""
    facts = [read_facts(folder) for folder in folders]
    return facts, ask(unsettled_jobs(facts, time.time()), kept_s)


def unsettled_jobs(runs: Sequence[RunFacts], now_s: float) -> list[str]:
    """The jobs whose end the run folders do not tell."""
    wanted: list[str] = []
    for facts in runs:
        if now_s - facts.latest_s > _FORGOTTEN_S:
            continue
        for stage, job in facts.last_jobs.items():
            ended = facts.lifecycle.status in ("FINISHED", "KILLED")
            moment_s = {
                "prep": facts.last_record_s,
                "train": facts.last_record_s if ended else None,
                "evaluate": facts.evaluated_s,
            }[stage]
            is_removed = (
                is_cancelled(facts, job) and now_s - facts.cancelled[job.job_id] > _REMOVED_S
            )
            if (moment_s is None or moment_s < job.submitted_s) and not is_removed:
                wanted.append(job.job_id)
    return wanted


def worth_showing(facts: RunFacts, rows: Sequence[Row], now_s: float) -> bool:
    """Whether a person who names no run wants to see this one."""
    if any(row.state in GOES_ON for row in rows):
        return True
    shown_s = max(_SHOWN_S.get(row.state, _ELSE_SHOWN_S) for row in rows)
    return now_s - facts.latest_s < shown_s


def status(runs: Sequence[RunFacts], answer: Answer, are_named: bool, as_json: bool) -> None:
    """Print the state of runs: of all of them if they were named."""
    rows, hidden = _select(runs, answer, are_named)
    _tell_problems(runs, answer)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2, allow_nan=False))
        return
    if rows:
        out = console(stderr=False)
        out.print(table(rows, time.time(), out.width), soft_wrap=False)
    else:
        info("no run is queued, running, or ended lately")
    if hidden:
        info(f"{hidden} more ended earlier: python slurm/jobs.py list")


def watch(
    find: Callable[[], Sequence[Path]],
    are_named: bool,
    also: Callable[[Sequence[RunFacts]], object],
) -> None:
    """Draw the table until Ctrl-C; ``also`` is done with the runs each time.

    Raises UserError without a terminal.
    """
    out = console(stderr=False)
    if not out.is_terminal:
        raise UserError(
            "--watch needs a terminal; elsewhere repeat `jobs.py status --json` as often as you "
            "like: Slurm is asked every 10 s at most"
        )
    try:
        with Live(console=out, auto_refresh=False) as live:
            while True:
                runs, answer = look(find(), ASK_EVERY_S)
                rows, _ = _select(runs, answer, are_named)
                live.update(_watched(rows, answer, out.width), refresh=True)
                also(runs)
                time.sleep(REFRESH_S)
    except KeyboardInterrupt:
        return


def _select(runs: Sequence[RunFacts], answer: Answer, are_named: bool) -> tuple[list[Row], int]:
    """The rows to show, and the number of runs that are left out."""
    now_s = time.time()
    shown: list[Row] = []
    hidden = 0
    for facts in runs:
        rows = rows_of(facts, answer, now_s)
        if are_named or worth_showing(facts, rows, now_s):
            shown += rows
        else:
            hidden += 1
    return shown, hidden


def _tell_problems(runs: Sequence[RunFacts], answer: Answer) -> None:
    if answer.problem is not None:
        warn(f"Slurm was not asked ({answer.problem}): the states below are the run folders' alone")
    elif not answer.is_complete:
        warn("Slurm's accounting (sacct) does not answer: nobody knows how jobs that it ran ended")
    for facts in runs:
        if facts.problem is not None:
            warn(facts.problem)


def _watched(rows: Sequence[Row], answer: Answer, width: int) -> RenderableType:
    clock = f"{time.strftime('%H:%M:%S')}, Ctrl-C ends this"
    if answer.problem is not None:
        clock += f"; Slurm does not answer ({escape(answer.problem)})"
    if not rows:
        return f"no run is queued, running, or ended lately\n{clock}"
    return Group(table(rows, time.time(), width), clock)


def table(rows: Sequence[Row], now_s: float, width: int) -> RenderableType:
    """The rows, one line each; below them why they are as they are, and what went wrong last.

    width: of a line, in characters.
    """
    drawn = draw(_columns(rows), width, lambda number: _STYLES.get(rows[number].state, ""))
    troubled = [row for row in rows if row.last_error is not None and not row.is_error_over]
    lines = [*_reasons(rows), *(_error_line(row, now_s) for row in troubled)]
    return Group(drawn, *([""] if lines else []), *map(escape, lines))


def _columns(rows: Sequence[Row]) -> list[Column]:
    folders = [row.run_folder for row in rows]
    is_next_stage = [before == this for before, this in pairwise(["", *folders])]
    names = ["" if is_next else row.run for row, is_next in zip(rows, is_next_stage, strict=True)]
    columns = [Column("run", tuple(names))]
    if any(row.stage != "train" for row in rows):
        columns.append(Column("stage", tuple(row.stage for row in rows)))
    columns.append(Column("state", tuple(row.state for row in rows)))
    numbers = zip(*(_numbers(row) for row in rows), strict=True)
    for (name, rank), cells in zip(_NUMBERS.items(), numbers, strict=True):
        columns.append(Column(name, cells, is_number=True, rank=rank))
    if any(row.job_id for row in rows):
        columns.append(Column("job", tuple(row.job_id or "local" for row in rows)))
        columns.append(Column("nodes", tuple(row.nodes or ABSENT for row in rows), rank=1))
    return columns


def _reasons(rows: Sequence[Row]) -> list[str]:
    """A line for all rows that share a reason."""
    sharing: dict[str, list[str]] = {}
    for row in rows:
        if row.detail:
            sharing.setdefault(show_state(State(row.state, row.detail)), []).append(_name(row))
    lines: list[str] = []
    for reason, names in sharing.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"{', '.join(names[:_NAMED])}{more}: {reason}")
    return lines


def show_state(state: State) -> str:
    """``queued (waits for free nodes)``."""
    if state.word == "waits":
        return f"waits {state.detail}"
    return f"{state.word} ({state.detail})" if state.detail else state.word


_NUMBERS = {"step": 0, "epoch": 6, "img/s": 4, "top-1": 3, "ETA": 2, "time left": 5}
"""The columns of numbers, and which of them goes first where there is no room."""


def _numbers(row: Row) -> list[str]:
    return [
        ABSENT if row.step is None else f"{row.step:,}/{row.total_steps:,}",
        row.epoch or ABSENT,
        ABSENT if row.img_per_s is None else f"{row.img_per_s:,.0f}",
        ABSENT if row.top1 is None else f"{row.top1:.2f}",
        ABSENT if row.eta_s is None else duration(row.eta_s),
        ABSENT if row.time_left_s is None else duration(row.time_left_s),
    ]


def _error_line(row: Row, now_s: float) -> str:
    ago = "" if row.last_error_s is None else f", {duration(now_s - row.last_error_s)} ago"
    return f"{_name(row)}, last error{ago}: {row.last_error}"


def _name(row: Row) -> str:
    return row.run if row.stage == "train" else f"{row.run} ({row.stage})"
