"""The comparison as Markdown tables, for an issue or a paper's appendix."""

import math
from collections.abc import Sequence

from pipeline.compare.judging.comparison import Comparison
from pipeline.compare.run import AXIS_LABELS
from pipeline.compare.text.rows import (
    CurveChoice,
    Rows,
    names_of,
    position_rows,
    result_rows,
    setting_rows,
    test_note,
)
from pipeline.compare.text.terminal import RESULTS_TITLE, SETTINGS_TITLE
from pipeline.compare.text.verdict import verdict


def markdown(comparison: Comparison, choice: CurveChoice) -> str:
    """Settings, results, the curves at a few places, warnings and the verdict."""
    names = names_of(comparison.groups)
    parts: list[str] = []
    settings = setting_rows(comparison)
    if settings:
        rows: Rows = [
            (f"{section}.{key}" if section else key, texts)
            for section, found in settings.items()
            for key, texts in found
        ]
        parts += [f"### {SETTINGS_TITLE}", _table(rows, names)]
    elif len(names) > 1:
        parts.append("The settings are the same in all runs.")
    parts += [f"### {RESULTS_TITLE}", _table(result_rows(comparison), names)]
    if note := test_note(comparison):
        parts.append(f"{note}.")
    for metric in choice.metrics:
        xs, rows_of_values = position_rows(comparison, metric, choice.axis)
        if any(math.isfinite(value) for row in rows_of_values for value in row):
            rows = [
                (
                    f"{x:,.0f}" if x >= 1000 else f"{x:.4g}",
                    [_value(row[place]) for row in rows_of_values],
                )
                for place, x in enumerate(xs)
            ]
            parts += [
                f"### {metric}, means around the {AXIS_LABELS[choice.axis]}",
                _table(rows, names),
            ]
    if comparison.warnings:
        parts.append("\n".join(f"- warning: {text}" for text in comparison.warnings))
    parts.append(verdict(comparison))
    return "\n\n".join(parts)


def _value(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else ""


def _table(rows: Rows, names: Sequence[str]) -> str:
    lines = [["", *names], ["---", *("---:" for _ in names)]]
    lines += [[label.strip(), *texts] for label, texts in rows]
    cells = [[text.replace("|", "\\|") for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
