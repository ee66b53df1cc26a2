"""Figures as SVG markup: arrays in, text out, of bounded size whatever the number of samples.

Positions on the axes are percentages and text has its size in pixels, so a figure fills any
width with labels that stay readable; only the marks between the axes are stretched.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.reporting.markup import escaped
from data_prep.wording import plural

MAX_COLUMNS = 256
SIZE_BINS = 40
ASPECT_BINS = 96
DENSITY_LEVELS = 6

_TALL = 1000
"""Height of a column figure in its own units."""
_THINNEST = 6
"""Of those units: what a value above 0 gets at least, or nobody would see it."""
_GAP_BELOW = 48
"""Columns; with fewer, a gap parts them."""


@dataclass(frozen=True)
class _Tick:
    at: float
    """Share of the axis: 0 left or below, 1 right or above."""
    text: str


def column_chart(
    values: NDArray[np.int64],
    names: Sequence[str],
    label: str,
    ends: tuple[str, str],
    value_text: Callable[[int], str],
) -> str:
    """(N,) values of 0 and more, in their order, as at most MAX_COLUMNS columns.

    A column that stands for several is solid up to their smallest, pale up to their largest.
    ``ends``: what stands below the first and the last column.
    """
    count = min(len(values), MAX_COLUMNS)
    starts = np.arange(count) * len(values) // count
    firsts: list[int] = starts.tolist()
    lasts = [*(first - 1 for first in firsts[1:]), len(values) - 1]
    lows = np.minimum.reduceat(values, starts).tolist()
    highs = np.maximum.reduceat(values, starts).tolist()
    top, y_ticks = _count_axis(max(highs), value_text)
    marks = "".join(
        _column(
            position,
            (low / top, high / top),
            count,
            f"{_span(names[first], names[last])}: {_span(value_text(low), value_text(high))}",
        )
        for position, (first, last, low, high) in enumerate(
            zip(firsts, lasts, lows, highs, strict=True)
        )
    )
    x_ticks = [_Tick(0, ends[0]), _Tick(1, ends[1])]
    return _figure("columns", label, marks, (count, _TALL), x_ticks, y_ticks)


def share_bar(share: float) -> str:
    """A bar across ``share`` (0 to 1) of the room it gets."""
    return f'<svg class="share" aria-hidden="true"><rect width="{share:.1%}" height="100%"/></svg>'


def size_chart(sizes: NDArray[np.int64]) -> str:
    """(N, 2) widths and heights in pixels as a grid of counted cells; both axes the same log."""
    axis = _log_range(float(max(1, sizes.min())), float(max(1, sizes.max())), 4)
    cells = _bins(sizes, axis, SIZE_BINS)
    counts = np.bincount(cells[:, 0] * SIZE_BINS + cells[:, 1], minlength=SIZE_BINS**2)
    edges = np.geomspace(*axis, SIZE_BINS + 1)
    most = int(counts.max())
    marks = "".join(
        f'<rect class="d{_level(n, most)}" x="{cell // SIZE_BINS}" '
        f'y="{SIZE_BINS - 1 - cell % SIZE_BINS}" width="1" height="1"><title>'
        f"{_pixels(edges, cell // SIZE_BINS)} × {_pixels(edges, cell % SIZE_BINS)}: "
        f"{plural(n, 'image')}</title></rect>"
        for cell, n in ((int(cell), int(counts[cell])) for cell in np.flatnonzero(counts))
    )
    ticks = [_Tick(_log_share(v, axis), f"{v:,}") for v in _log_values(axis)]
    square = '<line class="guide" x1="0" y1="100%" x2="100%" y2="0"/>'
    label = f"Widths across, heights upwards, of {plural(len(sizes), 'image')}"
    return _figure("sizes", label, marks, (SIZE_BINS, SIZE_BINS), ticks, ticks, square)


def aspect_chart(aspects: NDArray[np.float64]) -> str:
    """(N,) widths divided by heights as a histogram over a log axis with 1:1 in its middle."""
    reach = max(2.0, float(aspects.max()), 1 / float(aspects.min()))
    axis = (1 / reach, reach)
    counts = np.bincount(_bins(aspects, axis, ASPECT_BINS), minlength=ASPECT_BINS)
    edges = np.geomspace(*axis, ASPECT_BINS + 1)
    top, y_ticks = _count_axis(int(counts.max()), lambda n: f"{n:,}")
    marks = "".join(
        _column(
            int(b),
            (counts[b] / top, counts[b] / top),
            ASPECT_BINS,
            f"{edges[b]:.2f}–{edges[b + 1]:.2f}: {plural(int(counts[b]), 'image')}",
        )
        for b in np.flatnonzero(counts)
    )
    octaves = math.floor(math.log2(reach))
    apart = -(-octaves // 3)
    powers = [p for p in range(-octaves, octaves + 1) if p % apart == 0]
    x_ticks = [_Tick(_log_share(2.0**p, axis), _ratio(p)) for p in powers]
    median = float(np.median(aspects))
    at = f"{_log_share(median, axis):.2%}"
    line = (
        f'<line class="median" x1="{at}" x2="{at}" y1="0" y2="100%"/>'
        f'<text x="{at}" y="0" dy="-.5em" text-anchor="middle">median {median:.2f}</text>'
    )
    label = f"Width divided by height of {plural(len(aspects), 'image')}"
    return _figure("columns", label, marks, (ASPECT_BINS, _TALL), x_ticks, y_ticks, line)


def _figure(
    kind: str,
    label: str,
    marks: str,
    units: tuple[int, int],
    x_ticks: Sequence[_Tick],
    y_ticks: Sequence[_Tick],
    above: str = "",
) -> str:
    """Axes around marks; ``units``: width and height that the marks are given in."""
    grid = "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{1 - t.at:.2%}" y2="{1 - t.at:.2%}"/>'
        f'<text x="-8" y="{1 - t.at:.2%}" dy=".35em" text-anchor="end">{escaped(t.text)}</text>'
        for t in y_ticks
    )
    below = "".join(
        f'<text x="{t.at:.2%}" y="100%" dy="1.5em" text-anchor="{_anchor(t.at)}">'
        f"{escaped(t.text)}</text>"
        for t in x_ticks
    )
    return (
        f'<div class="plot"><svg class="{kind}" role="img" aria-label="{escaped(label)}">{grid}'
        f'<svg class="marks" width="100%" height="100%" viewBox="0 0 {units[0]} {units[1]}" '
        f'preserveAspectRatio="none">{marks}</svg>{above}{below}</svg></div>'
    )


def _column(position: int, shares: tuple[float, float], columns: int, title: str) -> str:
    """shares: of the full height, up to which the column is solid and up to which pale."""
    solid, pale = (round(share * _TALL) for share in shares)
    solid, pale = (
        max(_THINNEST, h) if s else 0 for h, s in ((solid, shares[0]), (pale, shares[1]))
    )
    gap = 0.08 if columns < _GAP_BELOW else 0
    place = f'x="{position + gap:g}" width="{1 - 2 * gap:g}"'
    parts = f'<rect {place} y="{_TALL - solid}" height="{solid}"/>' if solid else ""
    if pale > solid:
        parts += f'<rect class="pale" {place} y="{_TALL - pale}" height="{pale - solid}"/>'
    return f"<g>{parts}<title>{escaped(title)}</title></g>" if parts else ""


def _count_axis(highest: int, value_text: Callable[[int], str]) -> tuple[int, list[_Tick]]:
    """The value at the top of an axis from 0, and round values along it."""
    rough = max(1.0, highest / 4)
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * lead for lead in (1, 2, 5, 10) if power * lead >= rough)
    top = step * max(1, -(-highest // step))
    return top, [_Tick(value / top, value_text(value)) for value in range(0, top + 1, step)]


def _log_range(low: float, high: float, least: float) -> tuple[float, float]:
    """Ends of a log axis, at least the factor ``least`` apart."""
    widen = max(1.0, math.sqrt(least * low / high))
    return low / widen, high * widen


def _log_share(value: float, axis: tuple[float, float]) -> float:
    return math.log(value / axis[0]) / math.log(axis[1] / axis[0])


def _log_values(axis: tuple[float, float]) -> list[int]:
    """Round whole numbers along a log axis, at most six of them."""
    decades = range(math.floor(math.log10(axis[1])) + 1)
    for leads in (range(1, 10), (1, 2, 5), (1, 3)):
        values = [lead * 10**d for d in decades for lead in leads]
        inside = [v for v in values if axis[0] <= v <= axis[1]]
        if len(inside) <= 6:
            return inside
    return [10**d for d in decades if axis[0] <= 10**d <= axis[1]]


def _bins(values: NDArray[np.number], axis: tuple[float, float], bins: int) -> NDArray[np.int64]:
    """The bin of each value, of ``bins`` equal ones along a log axis."""
    low, high = math.log(axis[0]), math.log(axis[1])
    places = (np.log(np.maximum(values, axis[0])) - low) * (bins / (high - low))
    return np.minimum(places.astype(np.int64), bins - 1)


def _level(count: int, most: int) -> int:
    """1 to DENSITY_LEVELS, by the logarithm of a count of at least 1."""
    if most == 1:
        return DENSITY_LEVELS
    return 1 + round((DENSITY_LEVELS - 1) * math.log(count) / math.log(most))


def _pixels(edges: NDArray[np.float64], index: int) -> str:
    """The whole numbers in a bin."""
    first, end = math.ceil(edges[index] - 1e-6), edges[index + 1]
    # Only the last bin holds its upper end.
    last = math.floor(end + 1e-6) if index == len(edges) - 2 else math.ceil(end - 1e-6) - 1
    return _span(f"{first:,}", f"{max(first, last):,}")


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first}–{last}"


def _ratio(power: int) -> str:
    return f"{2**power}:1" if power >= 0 else f"1:{2**-power}"


def _anchor(at: float) -> str:
    return "start" if at < 0.02 else "end" if at > 0.98 else "middle"
