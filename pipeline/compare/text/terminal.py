"""Tables for a terminal of any width: a column per group while they fit, else a row per group."""

from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipeline.compare.judging.comparison import Comparison
from pipeline.compare.judging.groups import Group
from pipeline.compare.run import AXIS_LABELS
from pipeline.compare.text import wording
from pipeline.compare.text.rows import (
    CurveChoice,
    Rows,
    curve_rows,
    names_of,
    own_settings,
    result_rows,
    setting_rows,
    test_note,
)
from pipeline.compare.text.verdict import verdict

SETTINGS_TITLE = "Settings that differ"
RESULTS_TITLE = "Results"

# Rich's frame: two edges, and a gap of three between columns.
_EDGES, _GAP = 4, 3
_ALWAYS_COLUMNS = 3
_NAME_LEAST = 28
_BINS_BELOW_NAME = 20
_UNBOUND = 10_000
_STYLES = {wording.BETTER: "green", wording.WORSE: "red"}


def print_comparison(out: Console, comparison: Comparison, choice: CurveChoice) -> None:
    """Settings, results, curves, warnings and the verdict."""
    settings = setting_rows(comparison)
    results = result_rows(comparison)
    if _fits(out.width, comparison, [*settings.values(), results]):
        if settings:
            out.print(_settings_table(settings, names_of(comparison.groups)), soft_wrap=False)
        out.print(_results_table(comparison, results, choice), soft_wrap=False)
    else:
        out.print(_row_table(out, comparison, choice), soft_wrap=False)
    if len(comparison.groups) > 1 and not settings:
        out.print("The settings are the same in all runs.", markup=False)
    for warning in comparison.warnings:
        out.print(f"warning: {warning}", style="yellow", markup=False)
    out.print(verdict(comparison), markup=False)


def _fits(width: int, comparison: Comparison, tables: Sequence[Rows]) -> bool:
    count = len(comparison.groups)
    if count <= _ALWAYS_COLUMNS:
        return True
    labels = max(len(label) for rows in tables for label, _ in rows)
    columns = [len(name) for name in names_of(comparison.groups)]
    for rows in tables:
        for _, texts in rows:
            columns = [max(n, len(text)) for n, text in zip(columns, texts, strict=True)]
    return _EDGES + labels + sum(columns) + _GAP * count <= width


def _settings_table(settings: dict[str, Rows], names: Sequence[str]) -> Table:
    rows: Rows = []
    for section, found in settings.items():
        if section:
            rows.append((section, [""] * len(names)))
        rows += [(f"  {key}" if section else key, texts) for key, texts in found]
    return _columns(SETTINGS_TITLE, rows, names)


def _results_table(comparison: Comparison, results: Rows, choice: CurveChoice) -> Table:
    table = _columns(RESULTS_TITLE, results, names_of(comparison.groups))
    if curves := curve_rows(comparison, choice):
        table.add_section()
        for metric, lines in curves:
            # Left-bound, for they have one axis.
            table.add_row(metric, *(Text(line, justify="left", no_wrap=True) for line in lines))
        table.caption = "; ".join(filter(None, [test_note(comparison), _curve_note(choice)]))
        table.caption_justify = "left"
    return table


def _columns(title: str, rows: Rows, names: Sequence[str]) -> Table:
    """Folds long texts instead of cutting them."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    table.add_column("", overflow="fold", no_wrap=False)
    for name in names:
        table.add_column(escape(name), overflow="fold", justify="right")
    for label, texts in rows:
        table.add_row(label, *map(_styled, texts))
    return table


def _styled(text: str) -> Text:
    """A value such as [stem.*] would be read as markup in a plain string."""
    return Text(text, style=_STYLES.get(text[-1:], ""))


def _row_table(out: Console, comparison: Comparison, choice: CurveChoice) -> Table:
    """The best group first; columns that do not fit are left out, the last ones first."""
    names = [_name(comparison, index) for index in range(len(comparison.groups))]
    longest = max(len(line) for name in names for line in name.split("\n"))
    label = max(map(len, names_of(comparison.groups)))
    width = min(longest, max(label, _NAME_LEAST), max(out.width // 2, _NAME_LEAST))
    columns = _row_columns(comparison, choice)
    table = _rows_of(comparison, names, width, columns, choice)
    while columns and _width(out, table) > out.width:
        columns = columns[:-1]
        table = _rows_of(comparison, names, width, columns, choice)
    left = out.width - _width(out, table)
    if not any(title in choice.metrics for title, _ in columns):
        names = _with_curves(comparison, names, choice)
    return _rows_of(comparison, names, min(longest, width + max(0, left)), columns, choice)


def _with_curves(
    comparison: Comparison, names: Sequence[str], choice: CurveChoice
) -> Sequence[str]:
    """The last metric below the names, where no column is left for it."""
    curves = curve_rows(comparison, choice, _BINS_BELOW_NAME)
    if not curves:
        return names
    metric, lines = curves[-1]
    return [
        f"{name}\n  {metric.rpartition('/')[2]} {line}"
        for name, line in zip(names, lines, strict=True)
    ]


def _width(out: Console, table: Table) -> int:
    """Of the table with nothing cut."""
    return out.measure(table, options=out.options.update(max_width=_UNBOUND)).maximum


def _rows_of(
    comparison: Comparison,
    names: Sequence[str],
    name_width: int,
    columns: Rows,
    choice: CurveChoice,
) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=RESULTS_TITLE,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        caption="; ".join(filter(None, [test_note(comparison), _curve_note(choice)])),
        caption_justify="left",
    )
    table.add_column("best first", overflow="fold", width=name_width)
    for title, _ in columns:
        justify = "left" if title in choice.metrics else "right"
        table.add_column(title, justify=justify, no_wrap=True)
    for index in comparison.ranked():
        table.add_row(Text(names[index]), *(_styled(texts[index]) for _, texts in columns))
    return table


def _curve_note(choice: CurveChoice) -> str:
    return f"curves: by {AXIS_LABELS[choice.axis]}, all on one scale"


def _name(comparison: Comparison, index: int) -> str:
    """The group, what sets it apart, and how its runs stand where they have not finished."""
    group = comparison.groups[index]
    lines = [group.label]
    for section, texts in own_settings(comparison, index).items():
        lines.append(f"  {section}: {', '.join(texts)}" if section else f"  {', '.join(texts)}")
    if any(run.status != "FINISHED" for run in group.runs):
        lines.append(f"  {wording.status_text(group)}")
    return "\n".join(lines)


def _row_columns(comparison: Comparison, choice: CurveChoice) -> Rows:
    """The most wanted first."""
    groups, against = comparison.groups, comparison.differences()

    def each(text: Callable[[Group], str]) -> list[str]:
        return [text(group) for group in groups]

    columns: Rows = [
        ("best top-1", each(lambda g: wording.spread_text(g.best_top1))),
        ("n", each(lambda g: str(len(g.counted)))),
        ("delta", [wording.delta_text(one) for one in against]),
    ]
    if any(one.p_value is not None for one in against):
        columns.append(("p", [wording.p_cell(one) for one in against]))
    columns.append((wording.cost_label(groups), each(lambda g: wording.hours_text(g.gpu_hours))))
    columns += curve_rows(comparison, choice)
    columns += [
        ("val/loss", each(lambda g: wording.spread_text(g.final_val_loss, "{:.3f}"))),
        ("img/s", each(lambda g: wording.count_text(g.images_per_second))),
        ("epochs", each(wording.epochs_text)),
        ("wall time", each(lambda g: wording.wall_text(g.wall_s))),
        ("final top-1", each(lambda g: wording.spread_text(g.final_top1))),
        ("images", each(lambda g: wording.count_text(g.images))),
        ("ranks", each(wording.ranks_text)),
    ]
    return columns
