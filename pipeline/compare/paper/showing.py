"""A filled table for people: in the terminal and as Markdown."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.compare.judging.groups import Spread
from pipeline.compare.paper.table import FilledRow, PaperTable

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_ABSENT = "–"
Column = tuple[str, Callable[[FilledRow], str]]


def terminal(table: PaperTable) -> "RichTable":
    """Right-aligned figures between the row's name and its status."""
    # rich takes a tenth of a second to import.
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    title = escape(table.full_title)
    shown = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=0
    )
    columns = _columns(table)
    for index, (header, _) in enumerate(columns):
        is_text = index in (0, len(columns) - 1)
        justify = "left" if is_text else "right"
        shown.add_column(header, justify=justify, no_wrap=not is_text, overflow="fold")
    for row in table.rows:
        shown.add_row(*(escape(text(row)) for _, text in columns))
    return shown


def markdown(table: PaperTable) -> str:
    """A GitHub-style table under its title, and the notes as a list."""
    columns = _columns(table)
    middle = ["---:"] * (len(columns) - 2)
    lines = [[header for header, _ in columns], ["---", *middle, "---"]]
    lines += [[text(row) for _, text in columns] for row in table.rows]
    cells = [[text.replace("|", "\\|") for text in line] for line in lines]
    body = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    notes = "".join(f"- {note}\n" for note in table.notes)
    return f"### {table.full_title}\n\n{body}\n\n{notes}"


def _columns(table: PaperTable) -> list[Column]:
    columns: list[Column] = [("", lambda row: row.paper.name)]
    if table.base is None:
        columns.append(("M / GMACs", _cost))
    columns += [
        ("ours", _ours),
        ("n", lambda row: str(row.ours.n) if row.ours else _ABSENT),
        ("best", lambda row: _spread(row.best)),
        ("paper", lambda row: f"{row.paper.top1:.1f}"),
    ]
    if table.base is None:
        columns.append(("diff", lambda row: _signed(row.difference)))
    if table.has_baseline:
        columns += [
            ("Δ ours", lambda row: _signed(row.ours_to_baseline)),
            ("Δ paper", lambda row: _signed(row.theirs_to_baseline, 1)),
        ]
    return [*columns, ("epochs", _epochs), ("status", lambda row: row.status)]


def _cost(row: FilledRow) -> str:
    frozen = f"+{row.paper.frozen_m:g}" if row.paper.frozen_m else ""
    return f"{row.paper.parameters_m:g}{frozen} / {row.paper.macs_g:g}"


def _ours(row: FilledRow) -> str:
    text = _spread(row.ours)
    return text if row.is_complete or row.ours is None else f"{text} so far"


def _spread(found: Spread | None) -> str:
    if found is None:
        return _ABSENT
    return f"{found.mean:.2f}" + ("" if found.std is None else f" ± {found.std:.2f}")


def _signed(points: float | None, decimals: int = 2) -> str:
    if points is None:
        return _ABSENT
    # Without the minus of what is rounded to nothing.
    return f"{round(points, decimals) + 0.0:+.{decimals}f}"


def _epochs(row: FilledRow) -> str:
    if row.planned_epochs is None:
        return _ABSENT
    done = " to ".join(f"{epochs:.4g}" for epochs in row.epochs_done) or ("?" if row.runs else "0")
    return f"{done} of {row.planned_epochs}"
