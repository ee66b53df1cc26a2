"""Curves of several groups on one axis, and drawn in a line of text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.judging.groups import Group
from pipeline.compare.run import Axis, Run

BARS = "▁▂▃▄▅▆▇█"
GAP = " "


@dataclass(frozen=True, eq=False)
class Aligned:
    """A metric of several groups at the same places.

    ``xs``: (bins,) on the axis. ``rows``: (bins,) per group, the mean over those of its counted
    runs that have finite values only in a bin; NaN where none has.
    """

    metric: str
    axis: Axis
    xs: NDArray[np.float64]
    rows: list[NDArray[np.float64]]


def align(groups: Sequence[Group], metric: str, axis: Axis, bins: int) -> Aligned:
    """Put a metric of all groups on bins of equal width, from 0 to where the last one ends."""
    points = [[_points(run, metric, axis) for run in group.counted] for group in groups]
    ends = [xs[-1] for group in points for xs, _ in group if len(xs)]
    edges = np.linspace(0.0, max(ends, default=1.0) or 1.0, bins + 1)
    rows = [_mean([_binned(xs, ys, edges) for xs, ys in group], bins) for group in points]
    return Aligned(metric, axis, (edges[:-1] + edges[1:]) / 2, rows)


def sparklines(rows: Sequence[NDArray[np.float64]]) -> list[str]:
    """A bar per bin on one scale for all rows; what is no number is a gap."""
    known = np.concatenate([np.empty(0), *(row[np.isfinite(row)] for row in rows)])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    return ["".join(_bar(value, low, high) for value in row).rstrip() for row in rows]


def _bar(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return GAP
    place = 0.5 if high == low else (value - low) / (high - low)
    return BARS[min(int(place * len(BARS)), len(BARS) - 1)]


def _points(run: Run, metric: str, axis: Axis) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places on the axis, ascending, and values."""
    curve = run.curves.get(metric)
    if curve is None:
        return np.empty(0), np.empty(0)
    xs = run.x_of(axis, curve.steps)
    known = np.isfinite(xs)
    return xs[known], curve.values[known]


def _binned(
    xs: NDArray[np.float64], ys: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of the points of each bin; between points that are further apart, a straight line."""
    bins = len(edges) - 1
    if not len(xs):
        return np.full(bins, np.nan)
    ys = np.where(np.isfinite(ys), ys, np.nan)
    places = np.clip(np.searchsorted(edges, xs, side="left") - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    sums = np.bincount(places, weights=ys, minlength=bins)
    middles = (edges[:-1] + edges[1:]) / 2
    between = np.interp(middles, xs, ys, left=np.nan, right=np.nan)
    return np.where(counts > 0, sums / np.maximum(counts, 1), between)


def _mean(rows: Sequence[NDArray[np.float64]], bins: int) -> NDArray[np.float64]:
    """Over the runs that reach a bin."""
    if not rows:
        return np.full(bins, np.nan)
    table = np.stack(rows)
    known = np.isfinite(table)
    sums = np.where(known, table, 0.0).sum(axis=0)
    counts = known.sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
