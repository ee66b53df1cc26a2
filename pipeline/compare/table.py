"""Show runs side by side: a table for a terminal, Markdown, JSON, and one plain sentence."""

import math
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipeline.compare.runs import ABSENT, Best, Run, differing_settings
from pipeline.log import duration

NO_METRICS = "no metrics yet"

Rows = list[tuple[str, list[str]]]


def setting_rows(runs: Sequence[Run]) -> Rows:
    """The settings that differ: a label and a text per run."""
    return list(differing_settings(runs).items())


def result_rows(runs: Sequence[Run]) -> Rows:
    """What came of the runs: a label and a text per run."""
    first = runs[0].best
    rows: Rows = [
        ("status", [run.status if run.has_metrics else NO_METRICS for run in runs]),
        ("best val/top1", [_best(run.best) for run in runs]),
    ]
    if len(runs) > 1:
        rows.append(("  against the first", [ABSENT, *(_delta(r.best, first) for r in runs[1:])]))
    rows += [
        ("final val/top1", [_number(run.final_top1, "{:.2f}") for run in runs]),
        ("final val/top5", [_number(run.final_top5, "{:.2f}") for run in runs]),
        ("final val/loss", [_number(run.final_val_loss, "{:.4f}") for run in runs]),
        ("last train/loss", [_number(run.last_train_loss, "{:.4f}") for run in runs]),
        ("last step", [_number(run.last_step, "{:d}") for run in runs]),
        ("images/s, median", [_number(run.images_per_second, "{:,.0f}") for run in runs]),
        ("wall time", [ABSENT if r.wall_s is None else duration(r.wall_s) for r in runs]),
        ("ranks", [_number(run.ranks, "{:d}") for run in runs]),
        ("seed", [run.settings.get("seed", ABSENT) for run in runs]),
    ]
    return rows


def verdict(runs: Sequence[Run]) -> str:
    """Who leads, by how much, and what that is worth, in one sentence."""
    measured = [(run.best, run) for run in runs if run.best is not None]
    without = [run.name for run in runs if run.best is None]
    missing = f"; no val/top1 yet: {', '.join(without)}" if without else ""
    if not measured:
        return f"No val/top1 yet: {', '.join(without)}."
    ranked = sorted(measured, key=lambda pair: -pair[0].top1)
    (best, leader), *others = ranked
    if not others:
        return f"{leader.name}: best top-1 {best.top1:.1f} at {_where(best)}{missing}."
    second, runner_up = others[0]
    # The difference of what is printed, or the reader's subtraction disagrees.
    gap = round(best.top1, 2) - round(second.top1, 2)
    pair = f"({best.top1:.2f} vs {second.top1:.2f})"
    over = f" over {runner_up.name}" if len(runs) > 2 else ""
    lead = (
        f"{leader.name} leads by {gap:+.2f} points of top-1{over} {pair}"
        if gap
        else f"{leader.name} and {runner_up.name} are level in top-1 {pair}"
    )
    return f"{lead}; {_worth(leader, runner_up)}{_unfinished([leader, runner_up])}{missing}."


def terminal_table(title: str, rows: Rows, names: Sequence[str]) -> Table:
    """A table that folds long texts instead of cutting them."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    table.add_column("", overflow="fold", no_wrap=False)
    for name in names:
        table.add_column(name, overflow="fold", justify="right")
    for label, values in rows:
        # A value such as [stem.*] would be read as markup.
        table.add_row(label, *map(escape, values))
    return table


def markdown_table(rows: Rows, names: Sequence[str]) -> str:
    """A GitHub-style table."""
    lines = [["", *names], ["---", *("---:" for _ in names)]]
    lines += [[label.strip(), *values] for label, values in rows]
    cells = [[text.replace("|", "\\|") for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def as_json(runs: Sequence[Run]) -> dict[str, Any]:
    """Everything shown, as JSON values; NaN and infinity are texts."""
    first = runs[0].best
    return {
        "runs": [_run_json(run, first) for run in runs],
        "differing_settings": {
            key: dict(zip([run.name for run in runs], values, strict=True))
            for key, values in differing_settings(runs).items()
        },
        "verdict": verdict(runs),
    }


def _run_json(run: Run, first: Best | None) -> dict[str, Any]:
    facts = {key: value for key, value in vars(run).items() if key not in ("settings", "best")}
    best = None if run.best is None else {k: _plain(v) for k, v in run.best._asdict().items()}
    delta = None if run.best is None or first is None else run.best.top1 - first.top1
    return {
        **{key: _plain(value) for key, value in facts.items()},
        "seed": run.settings.get("seed"),
        "best": best,
        "best_top1_minus_first": _plain(delta),
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None, form: str) -> str:
    return ABSENT if value is None else form.format(value)


def _best(best: Best | None) -> str:
    return ABSENT if best is None else f"{best.top1:.2f} at {_where(best)}"


def _where(best: Best) -> str:
    return f"step {best.step}" + ("" if best.epoch is None else f" (epoch {best.epoch:g})")


def _delta(best: Best | None, first: Best | None) -> str:
    if best is None or first is None:
        return ABSENT
    return f"{round(best.top1, 2) - round(first.top1, 2):+.2f}"


def _worth(leader: Run, runner_up: Run) -> str:
    if list(differing_settings([leader, runner_up])) == ["seed"]:
        return "they differ in the seed only, so this is noise"
    return "n = 1 each, so this may be noise"


def _unfinished(runs: Sequence[Run]) -> str:
    """A lead over a run that goes on is none yet."""
    rest = [f"{run.name} is {run.status}" for run in runs if run.status != "FINISHED"]
    return f"; {' and '.join(rest)}" if rest else ""
