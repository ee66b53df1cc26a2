"""Rows of dots over one axis as a picture: a colour and a shape per series, values beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.charts.axis import Axis, axis_of
from pipeline.charts.colors import DARK, LIGHT, Theme
from pipeline.charts.text import escaped, text_element, width_em

Scale = Literal["linear", "root"]
"""root: the square root of the distance to 0, which shows small and large values at once."""

_WIDTH, _ROW_PX, _TOP, _BELOW = 760, 24, 84, 52
_EDGE, _GAP, _RADIUS, _VALUE_PX = 16, 12, 4.5, 58
_FONT_PX, _DECIMALS = 12, 1
_ROOT_TICKS = (1, 2, 5, 10, 20, 50, 100)
_ROOT_TICK_GAP = 0.055
"""Of the axis' width: closer ticks are left out."""


@dataclass(frozen=True)
class Dot:
    """A value, with the ends of its error bar where it has one; hollow where provisional."""

    value: float
    low: float | None = None
    high: float | None = None
    is_provisional: bool = False


@dataclass(frozen=True)
class DotRow:
    """A named row: a dot per series, None where it has none; ``remark`` takes its value's place."""

    name: str
    dots: tuple[Dot | None, ...]
    remark: str = ""


@dataclass(frozen=True)
class _Frame:
    """Where the plot lies, in pixels, and its axis in the scale's own unit."""

    left: float
    right: float
    bottom: float
    axis: Axis
    scale: Scale
    ticks: tuple[float, ...]

    def x(self, value: float) -> float:
        share = self.axis.share(_scaled(value, self.scale))
        return self.left + share * (self.right - self.left)


def dot_chart(
    rows: Sequence[DotRow],
    series: Sequence[str],
    title: str,
    x_label: str,
    subtitle: str = "",
    scale: Scale = "linear",
) -> str:
    """An ``<svg>`` with the rows from top to bottom, and the values as figures at the right.

    ``series``: their names, at most as many as there are shapes (4). Raises ValueError where a row
    has not one dot or None per series.
    """
    if len(series) > len(_SHAPES):
        raise ValueError(f"{len(series)} series for {len(_SHAPES)} shapes")
    for row in rows:
        if len(row.dots) != len(series):
            raise ValueError(f"row {row.name!r}: {len(row.dots)} dots for {len(series)} series")
    frame = _frame(rows, series, scale)
    inner = [_grid(frame, x_label), _legend(series, frame)]
    for index, row in enumerate(rows):
        inner.append(_row(row, _TOP + (index + 0.5) * _ROW_PX, frame))
    return _picture(title, subtitle, frame.bottom + _BELOW, "".join(inner))


def _frame(rows: Sequence[DotRow], series: Sequence[str], scale: Scale) -> _Frame:
    names_px = max((width_em(row.name) * _FONT_PX for row in rows), default=0)
    ends = [
        end
        for row in rows
        for dot in row.dots
        if dot is not None
        for end in (dot.value, dot.low, dot.high)
        if end is not None
    ]
    if scale == "root":
        ends.append(0.0)
    axis = axis_of((_scaled(end, scale) for end in ends), 6, is_padded=True)
    if scale == "linear" and axis.ticks:
        # From tick to tick, so that no dot lies at the edge.
        axis = Axis(min(axis.low, axis.ticks[0]), max(axis.high, axis.ticks[-1]), axis.ticks)
    return _Frame(
        left=_EDGE + names_px + _GAP,
        right=_WIDTH - _EDGE - _GAP - _VALUE_PX * len(series),
        bottom=_TOP + _ROW_PX * len(rows),
        axis=axis,
        scale=scale,
        ticks=axis.ticks if scale == "linear" else _root_ticks(axis),
    )


def _scaled(value: float, scale: Scale) -> float:
    return value if scale == "linear" else math.copysign(math.sqrt(abs(value)), value)


def _root_ticks(axis: Axis) -> tuple[float, ...]:
    """0 and round values to both sides, as far as there is room."""
    kept = [0.0]
    for sign in (1, -1):
        last = axis.share(0.0)
        for size in _ROOT_TICKS:
            share = axis.share(_scaled(sign * size, "root"))
            if 0 <= share <= 1 and abs(share - last) >= _ROOT_TICK_GAP:
                kept.append(float(sign * size))
                last = share
    return tuple(sorted(kept))


def _grid(frame: _Frame, x_label: str) -> str:
    parts: list[str] = []
    texts = frame.axis.texts if frame.scale == "linear" else [f"{t:+g}" for t in frame.ticks]
    for tick, text in zip(frame.ticks, texts, strict=True):
        x = frame.x(tick)
        kind = "base" if frame.scale == "root" and tick == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{x:.1f},{_TOP}V{frame.bottom:.1f}"/>')
        label = "0" if tick == 0 and frame.scale == "root" else text
        parts.append(text_element(x, frame.bottom + 18, label))
    middle = (frame.left + frame.right) / 2
    label = f'<text x="{middle:.1f}" y="{frame.bottom + 38:.1f}" text-anchor="middle">'
    return "".join([*parts, f"{label}{escaped(x_label)}</text>"])


def _legend(series: Sequence[str], frame: _Frame) -> str:
    """The series' names over their columns of figures, each with its mark."""
    parts: list[str] = []
    for index, name in enumerate(series):
        x = _value_x(frame, index)
        mark_x = x - width_em(name) * _FONT_PX - 10
        parts.append(f'<g class="c{index}">{_SHAPES[index](mark_x, _TOP - 14)}</g>')
        parts.append(text_element(x, _TOP - 10, name, "end"))
    return "".join(parts)


def _value_x(frame: _Frame, index: int) -> float:
    return frame.right + _GAP + (index + 1) * _VALUE_PX


def _row(row: DotRow, y: float, frame: _Frame) -> str:
    parts = [f'<path class="grid" d="M{frame.left:.1f},{y:.1f}H{frame.right:.1f}"/>']
    parts.append(_name(row.name, frame.left - _GAP, y + 4))
    sign = "+" if frame.scale == "root" else ""
    for index, dot in reversed(list(enumerate(row.dots))):
        if dot is None:
            if row.remark and not index:
                parts.append(text_element(_value_x(frame, 0), y + 4, row.remark, "end"))
            continue
        # Without the minus of what is rounded to nothing.
        text = f"{round(dot.value, _DECIMALS) + 0.0:{sign}.{_DECIMALS}f}"
        parts.append(text_element(_value_x(frame, index), y + 4, text, "end"))
        kind = f"c{index} open" if dot.is_provisional else f"c{index}"
        mark = _bar(dot, y, frame) + _SHAPES[index](frame.x(dot.value), y)
        parts.append(f'<g class="{kind}"><title>{escaped(f"{row.name}: {text}")}</title>{mark}</g>')
    return "".join(parts)


def _name(name: str, x: float, y: float) -> str:
    """Whole: the plot begins where the longest ends."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="end">{escaped(name)}</text>'


def _bar(dot: Dot, y: float, frame: _Frame) -> str:
    if dot.low is None or dot.high is None:
        return ""
    low, high = frame.x(dot.low), frame.x(dot.high)
    ends = "".join(f"M{x:.1f},{y - 4:.1f}v8" for x in (low, high))
    return f'<path class="bar" d="M{low:.1f},{y:.1f}H{high:.1f}{ends}"/>'


def _circle(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}"/>'


def _polygon(*corners: tuple[float, float]) -> str:
    return '<path d="M' + "L".join(f"{x:.1f},{y:.1f}" for x, y in corners) + 'Z"/>'


def _diamond(x: float, y: float) -> str:
    r = _RADIUS * 1.25
    return _polygon((x, y - r), (x + r, y), (x, y + r), (x - r, y))


def _square(x: float, y: float) -> str:
    r = _RADIUS * 0.9
    return _polygon((x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r))


def _triangle(x: float, y: float) -> str:
    r = _RADIUS * 1.2
    return _polygon((x, y - r), (x + r, y + r * 0.8), (x - r, y + r * 0.8))


_SHAPES = (_circle, _diamond, _square, _triangle)


def _picture(title: str, subtitle: str, height: float, inner: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="dot-chart" role="img" '
        f'width="{_WIDTH}" height="{height:g}" viewBox="0 0 {_WIDTH} {height:g}">'
        f"<title>{escaped(title)}</title><style>{_STYLE}</style>"
        f'<rect class="ground" width="100%" height="100%"/>'
        f'<text class="head" x="{_EDGE}" y="26">{escaped(title)}</text>'
        f'<text x="{_EDGE}" y="46">{escaped(subtitle)}</text>{inner}</svg>\n'
    )


def _rules(theme: Theme) -> str:
    marks = "".join(
        f".dot-chart .c{i}{{stroke:{theme.lines[i]};fill:{theme.lines[i]}}}"
        for i in range(len(_SHAPES))
    )
    return (
        f".dot-chart .ground{{fill:{theme.ground}}}.dot-chart text{{fill:{theme.text}}}"
        f".dot-chart .grid{{stroke:{theme.grid}}}.dot-chart .base{{stroke:{theme.text}}}{marks}"
        f".dot-chart .open{{fill:{theme.ground}}}"
    )


_STYLE = (
    f".dot-chart text{{font:{_FONT_PX}px system-ui,sans-serif}}"
    ".dot-chart .head{font-size:15px;font-weight:600}"
    ".dot-chart path,.dot-chart circle{stroke-width:1.4;stroke-linejoin:round}"
    ".dot-chart .grid,.dot-chart .base{stroke-width:1}.dot-chart .bar{fill:none}"
    f"{_rules(LIGHT)}@media(prefers-color-scheme:dark){{{_rules(DARK)}}}"
)
