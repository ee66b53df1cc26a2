"""The table as it stands without a script: a row per group, and below it one per run."""

from collections.abc import Sequence
from typing import TypeVar

from pipeline.charts.text import escaped, shortened
from pipeline.compare.judging.comparison import Comparison
from pipeline.compare.judging.groups import Group
from pipeline.compare.judging.significance import Difference, p_text
from pipeline.compare.page.columns import (
    FINAL,
    LOSS,
    Cell,
    Column,
    best_column,
    cost_columns,
    group_status,
    run_status,
)
from pipeline.compare.run import Run
from pipeline.compare.text.rows import setting_rows
from pipeline.compare.text.wording import ABSENT

_NAME_CHARACTERS, _SETTING_CHARACTERS = 60, 40
_FEW_SETTINGS = 4

T = TypeVar("T")


def table_markup(comparison: Comparison) -> str:
    """``<table>``; its rows are sorted by best top-1."""
    groups = comparison.groups
    best, costs = best_column(groups), cost_columns(groups)
    found = comparison.differences()
    bodies = "".join(
        _body(comparison, index, best, [FINAL, LOSS, *costs], found[index])
        for index in comparison.ranked()
    )
    return (
        '<table id="groups"><caption class="unseen">Runs that differ in the seed only are one '
        "group; the heads sort.</caption>"
        f"<thead>{_heads(comparison, best, costs)}</thead>{bodies}</table>"
    )


def points_text(points: float | None) -> str:
    """``+0.52``: a difference of top-1."""
    if points is None:
        return ABSENT
    shown = f"{points:+.2f}"
    return shown if float(shown) else "0.00"


def short_words(difference: Difference) -> str:
    """Without the test and its figures, which stand in parentheses."""
    return difference.words.partition(" (")[0]


def _heads(comparison: Comparison, best: Column, costs: Sequence[Column]) -> str:
    sections = setting_rows(comparison)
    of_settings = [(section or "run", len(rows)) for section, rows in sections.items()]
    of_results = [("last evaluation", 2), ("cost and speed", len(costs)), ("", 1)]
    spans = [("", 1), ("best top-1 in %", 2), *_ordered(comparison, of_settings, of_results)]
    over = "".join(
        f'<th class="section" colspan="{width}" scope="colgroup">{escaped(name)}</th>'
        if name
        else '<td class="section"></td>'
        for name, width in spans
    )
    heads = [
        _head("name", "group", "runs that differ in the seed only are one group", "ascending"),
        _column_head(best, ' aria-sort="descending"'),
        _head(
            "delta",
            "against the baseline",
            "best less that of the baseline, in points, with its 95 % interval",
            "descending",
        ),
        *_ordered(
            comparison,
            [
                _head("text", key, f"{section}.{key}" if section else key, "ascending")
                for section, rows in sections.items()
                for key, _ in rows
            ],
            [
                *map(_column_head, (FINAL, LOSS, *costs)),
                _head("status", "status", "of the runs", "ascending"),
            ],
        ),
    ]
    return f"<tr>{over}</tr><tr>{''.join(heads)}</tr>"


def _ordered(comparison: Comparison, of_settings: list[T], of_results: list[T]) -> list[T]:
    """Few settings stand beside the score; many would push all else off the screen."""
    if len(comparison.differing) <= _FEW_SETTINGS:
        return of_settings + of_results
    return of_results + of_settings


def _column_head(column: Column, sort: str = "") -> str:
    return _head("number", column.head, column.hint, column.first, sort)


def _head(kind: str, text: str, hint: str, first: str, sort: str = "") -> str:
    breakable = escaped(text).replace(".", ".<wbr>")
    return (
        f'<th scope="col" class="{kind}" data-first="{first}"{sort}>'
        f'<button type="button" title="{escaped(hint)}">{breakable}</button></th>'
    )


def _body(
    comparison: Comparison,
    index: int,
    best: Column,
    others: Sequence[Column],
    difference: Difference,
) -> str:
    """A group and its runs."""
    group = comparison.groups[index]
    settings = [rows[1][index] for part in setting_rows(comparison).values() for rows in part]
    row = [
        _name(group.label, _seeds_text(group)),
        _number(best.of_group(group)),
        _delta(difference),
        *_ordered(
            comparison,
            list(map(_setting, settings)),
            [*(_number(c.of_group(group)) for c in others), _status(group_status(group))],
        ),
    ]
    rows = [_row("run", _run_cells(comparison, run, best, others)) for run in group.runs]
    current = ' aria-current="true"' if index == comparison.baseline else ""
    return f'<tbody data-group="{index}"{current}>{_row("group", row)}{"".join(rows)}</tbody>'


def _run_cells(
    comparison: Comparison, run: Run, best: Column, others: Sequence[Column]
) -> list[str]:
    settings = len(comparison.differing)
    return [
        _name(run.name, "" if run.seed is None else f"seed {run.seed}"),
        _number(best.of_run(run)),
        "<td></td>",
        *_ordered(
            comparison,
            [f'<td colspan="{settings}"></td>'] if settings else [],
            [*(_number(c.of_run(run)) for c in others), _status(run_status(run))],
        ),
    ]


def _row(kind: str, cells: Sequence[str]) -> str:
    return f'<tr class="{kind}">{"".join(cells)}</tr>'


def _name(name: str, beside: str) -> str:
    return (
        f'<th scope="row" class="name"><span class="label" title="{escaped(name)}">'
        f"{escaped(shortened(name, _NAME_CHARACTERS))}</span> "
        f'<span class="quiet">{escaped(beside)}</span></th>'
    )


def _seeds_text(group: Group) -> str:
    """What is not counted are copies, and runs that are not finished where others are."""
    others = len(group.runs) - len(group.counted)
    return f"n = {len(group.counted)}" + (f", {others} not counted" if others else "")


def _number(cell: Cell) -> str:
    number = "" if cell.number is None else f"{cell.number:.9g}"
    return f'<td class="number" data-number="{number}">{escaped(cell.text)}</td>'


def _delta(difference: Difference) -> str:
    number = "" if difference.delta is None else f"{difference.delta:.5g}"
    words = short_words(difference)
    if difference.p_value is not None:
        words += f", {p_text(difference.p_value)}"
    return (
        f'<td class="delta" data-number="{number}">'
        f'<span class="points">{points_text(difference.delta)}</span>'
        f'<span class="words">{escaped(words)}</span></td>'
    )


def _status(text: str) -> str:
    first = text.split(",")[0].rpartition(" ")[2]
    return f'<td class="status"><span data-status="{escaped(first)}">{escaped(text)}</span></td>'


def _setting(text: str) -> str:
    short = shortened(text, _SETTING_CHARACTERS)
    hint = "" if short == text else f' title="{escaped(text)}"'
    return f'<td class="text"{hint}>{escaped(short)}</td>'
