"""What is told of each group, as labelled rows of texts."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.compare.judging.comparison import Comparison
from pipeline.compare.judging.groups import Group
from pipeline.compare.judging.significance import TEST
from pipeline.compare.run import Axis
from pipeline.compare.text import wording
from pipeline.compare.text.alignment import align, sparklines

Rows = list[tuple[str, list[str]]]

SPARKLINE_BINS = 20


@dataclass(frozen=True)
class CurveChoice:
    """Which metrics are drawn, and against what."""

    metrics: tuple[str, ...]
    axis: Axis = "step"


def setting_rows(comparison: Comparison) -> dict[str, Rows]:
    """The settings that differ, by section (``model``, ``optim``, …; "" for those of none)."""
    sections: dict[str, Rows] = {}
    for key, texts in comparison.differing.items():
        section, dot, rest = key.partition(".")
        sections.setdefault(section if dot else "", []).append((rest if dot else key, texts))
    return sections


def own_settings(comparison: Comparison, index: int) -> dict[str, list[str]]:
    """``key=value`` by section, where a group differs from the baseline; all of the baseline's.

    Of the key, its last part where that is of one setting only.
    """
    told: dict[str, list[str]] = {}
    lasts = Counter(key.rpartition(".")[2] for key in comparison.differing)
    for section, rows in setting_rows(comparison).items():
        for whole, texts in rows:
            last = whole.rpartition(".")[2]
            key = last if lasts[last] == 1 else whole
            if index == comparison.baseline or texts[index] != texts[comparison.baseline]:
                told.setdefault(section, []).append(f"{key}={texts[index]}")
    return told


def result_rows(comparison: Comparison) -> Rows:
    """What came of the groups, a text for each."""
    groups, against = comparison.groups, comparison.differences()

    def each(text: Callable[[Group], str]) -> list[str]:
        return [text(group) for group in groups]

    rows: Rows = [
        ("status", each(wording.status_text)),
        (wording.best_label(groups), each(wording.best_text)),
    ]
    if len(groups) > 1:
        rows.append(("  against the baseline", [wording.delta_text(one) for one in against]))
        tests = sum(one.p_value is not None for one in against)
        label = f"  {TEST}, Holm" if tests > 1 else f"  {TEST}"
        rows.append((label, [wording.test_text(one) for one in against]))
        if any(one.low is not None for one in against):
            rows.append(("  95 % interval", [wording.interval_text(one) for one in against]))
    rows.append(("final val/top1", each(lambda g: wording.spread_text(g.final_top1))))
    if any(group.final_ema_top1 is not None for group in groups):
        rows.append(("final val/ema_top1", each(lambda g: wording.spread_text(g.final_ema_top1))))
    rows += [
        ("final val/top5", each(lambda g: wording.spread_text(g.final_top5))),
        ("final val/loss", each(lambda g: wording.spread_text(g.final_val_loss, "{:.4f}"))),
        ("last train/loss", each(lambda g: wording.spread_text(g.last_train_loss, "{:.4f}"))),
        ("epochs", each(wording.epochs_text)),
        ("last step", each(wording.steps_text)),
        ("images", each(lambda g: wording.count_text(g.images))),
        (wording.cost_label(groups), each(lambda g: wording.hours_text(g.gpu_hours))),
        ("wall time", each(lambda g: wording.wall_text(g.wall_s))),
        ("images/s, median", each(lambda g: wording.count_text(g.images_per_second))),
    ]
    if any(group.mfu is not None for group in groups):
        rows.append(("MFU, median", each(lambda g: wording.spread_text(g.mfu, "{:.3f}"))))
    rows += [
        ("ranks", each(wording.ranks_text)),
        ("seeds", each(wording.seeds_text)),
    ]
    return rows


def curve_rows(comparison: Comparison, choice: CurveChoice, bins: int = SPARKLINE_BINS) -> Rows:
    """A sparkline per group for each metric that one of them has."""
    rows: Rows = []
    for metric in choice.metrics:
        aligned = align(comparison.groups, metric, choice.axis, bins)
        lines = sparklines(aligned.rows)
        if any(lines):
            rows.append((metric, [line or wording.ABSENT for line in lines]))
    return rows


def position_rows(
    comparison: Comparison, metric: str, axis: Axis, places: int = 5
) -> tuple[list[float], list[list[float]]]:
    """A metric at places of equal distance: ``(xs, values per group)``."""
    aligned = align(comparison.groups, metric, axis, places)
    return aligned.xs.tolist(), [row.tolist() for row in aligned.rows]


def test_note(comparison: Comparison) -> str:
    """Which test the p-values are of."""
    tested = sum(one.p_value is not None for one in comparison.differences())
    if len(comparison.groups) < 2:
        return ""
    if not tested:
        return f"n = 1 or no spread: no test ({TEST} needs n = 2 on both sides)"
    corrected = f", corrected for {tested} tests after Holm" if tested > 1 else ""
    return f"p: {TEST} against the baseline{corrected}"


def names_of(groups: Sequence[Group]) -> list[str]:
    return [group.label for group in groups]
