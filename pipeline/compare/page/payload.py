"""What the page's script works with: groups, differences for every baseline, and curves."""

import json
import math
from typing import Any

from pipeline.charts.colors import look
from pipeline.compare.judging.comparison import Comparison
from pipeline.compare.judging.significance import LEVEL, Difference, differences
from pipeline.compare.page.curves import pack_curves
from pipeline.compare.page.table import short_words
from pipeline.compare.run import AXIS_LABELS, Axis

MOST_BASELINES = 100
"""Their differences grow with the square of the groups."""


def payload_json(comparison: Comparison, axis: Axis, most_bytes: int) -> str:
    """JSON of about ``most_bytes``, in which nothing can end a ``<script>``."""
    text = json.dumps(payload(comparison, axis, most_bytes), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def payload(comparison: Comparison, axis: Axis, most_bytes: int) -> dict[str, Any]:
    """See ``assets/1-data.js`` for how it is read.

    ``baselines``: by index of a group, the difference of every group to it as ``[delta, p, low,
    high, place in words]``.
    """
    ranks = {index: rank for rank, index in enumerate(comparison.ranked())}
    runs = [run for group in comparison.groups for run in group.runs]
    words: dict[str, int] = {}
    data = {
        "axes": AXIS_LABELS,
        "axis": axis,
        "groups": [
            {
                "label": group.label,
                "rank": ranks[index],
                "look": look(ranks[index]),
                "counted": [group.runs.index(run) for run in group.counted],
                "runs": [run.name for run in group.runs],
            }
            for index, group in enumerate(comparison.groups)
        ],
        "baseline": comparison.baseline,
        "baselines": {
            index: [_packed(one, words) for one in differences(comparison.groups, index)]
            for index in baselines(comparison)
        },
        "words": list(words),
        "level": LEVEL,
    }
    left = most_bytes - len(json.dumps(data))
    return {**data, "curves": pack_curves(runs, left)}


def baselines(comparison: Comparison) -> list[int]:
    """The groups that others can be compared with: the best ones, and the one asked for."""
    others = [index for index in comparison.ranked() if index != comparison.baseline]
    return [comparison.baseline, *others[: MOST_BASELINES - 1]]


def _packed(difference: Difference, words: dict[str, int]) -> list[float | int | None]:
    numbers = (difference.delta, difference.p_value, difference.low, difference.high)
    place = words.setdefault(short_words(difference), len(words))
    return [*map(_short, numbers), place]


def _short(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")
