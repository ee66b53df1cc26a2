"""The state of runs as a table, as JSON, and as a table that is drawn again and again."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from pipeline.errors import UserError
from pipeline.log import console, duration, info, warn
from slurm.watch.controller import SQUEUE_KEPT_S, Answer, ask
from slurm.watch.run_facts import RunFacts, read_facts
from slurm.watch.run_rows import Row, rows_of
from slurm.watch.run_state import GOES_ON, State, Word

REFRESH_S = 2.0
"""Between two looks into the run folders."""
ASK_EVERY_S = 15.0
"""Between two questions to Slurm, while somebody watches."""
_FORGOTTEN_S = 30 * 86400
"""A job that was submitted, and last gave a sign of life, longer ago is not asked about."""
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
    "cancelled": "yellow",
    "requeued": "yellow",
}
ABSENT = "–"


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
            if moment_s is None or moment_s < job.submitted_s:
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
        console(stderr=False).print(table(rows, time.time()), soft_wrap=False)
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
                live.update(_watched(rows, answer), refresh=True)
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
    for facts in runs:
        if facts.problem is not None:
            warn(facts.problem)


def _watched(rows: Sequence[Row], answer: Answer) -> RenderableType:
    clock = f"{time.strftime('%H:%M:%S')}, Ctrl-C ends this"
    if answer.problem is not None:
        clock += f"; Slurm does not answer ({escape(answer.problem)})"
    if not rows:
        return f"no run is queued, running, or ended lately\n{clock}"
    return Group(table(rows, time.time()), clock)


def table(rows: Sequence[Row], now_s: float) -> RenderableType:
    """The rows, and below them what went wrong last, which would be too long for a column."""
    has_stages = any(row.stage != "train" for row in rows)
    has_jobs = any(row.job_id for row in rows)
    table = Table(header_style="bold")
    table.add_column("run", overflow="fold")
    if has_stages:
        table.add_column("stage")
    table.add_column("state", overflow="fold", min_width=10)
    for name in ("step", "epoch", "img/s", "top-1", "ETA"):
        table.add_column(name, justify="right")
    if has_jobs:
        table.add_column("left", justify="right")
        table.add_column("job", overflow="fold", justify="right")
        table.add_column("nodes", overflow="fold")
    before: Row | None = None
    for row in rows:
        is_next_stage = before is not None and before.run_folder == row.run_folder
        cells = ["" if is_next_stage else row.run]
        cells += [row.stage] if has_stages else []
        cells += [show_state(State(row.state, row.detail)), *_numbers(row)]
        if has_jobs:
            left = ABSENT if row.time_left_s is None else duration(row.time_left_s)
            cells += [left, row.job_id or "local", row.nodes or ABSENT]
        table.add_row(*(escape(cell) for cell in cells), style=_STYLES.get(row.state, ""))
        before = row
    troubled = [row for row in rows if row.last_error is not None and row.state != "finished"]
    errors = [_error_line(row, now_s) for row in troubled]
    return Group(table, *errors)


def show_state(state: State) -> str:
    """``queued (waits for free nodes)``."""
    if state.word == "waits":
        return f"waits {state.detail}"
    return f"{state.word} ({state.detail})" if state.detail else state.word


def _numbers(row: Row) -> list[str]:
    step = ABSENT if row.step is None else f"{row.step:,}/{row.total_steps:,}"
    return [
        step,
        row.epoch or ABSENT,
        ABSENT if row.img_per_s is None else f"{row.img_per_s:,.0f}",
        ABSENT if row.top1 is None else f"{row.top1:.2f}",
        ABSENT if row.eta_s is None else duration(row.eta_s),
    ]


def _error_line(row: Row, now_s: float) -> str:
    stage = "" if row.stage == "train" else f" ({row.stage})"
    ago = "" if row.last_error_s is None else f", {duration(now_s - row.last_error_s)} ago"
    return escape(f"{row.run}{stage}, last error{ago}: {row.last_error}")
