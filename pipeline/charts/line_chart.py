"""Lines over one axis as a picture: names at their ends where they fit, else in a legend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pipeline.charts import naming
from pipeline.charts.axis import Axis, axis_of
from pipeline.charts.colors import DARK, LIGHT, Theme, look
from pipeline.charts.text import escaped, shortened, text_element
from pipeline.charts.thin import mean_line, thin

_WIDTH, _PLOT_HEIGHT = 720, 280
_LEFT, _TOP, _BELOW, _RIGHT = 64, 44, 48, 24
_MOST_POINTS, _FEWEST_POINTS = 1600, 300
"""Of a line: the first is more than the picture has columns of pixels."""
_MOST_POINTS_IN_ALL = 16_000
_MEANS = 150
_TITLE_CHARACTERS = 80

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A named series: ``xs`` ascending and finite, ``ys`` of the same length.

    A y that is NaN or infinite is a gap.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True)
class _Frame:
    """What the axes show, and where the plot ends at the right, in pixels."""

    x_axis: Axis
    y_axis: Axis
    right: float
    bottom: float = _TOP + _PLOT_HEIGHT

    def points(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> list[Point]:
        """A line in pixels; gaps are NaN."""
        return [
            (
                _LEFT + self.x_axis.share(x) * (self.right - _LEFT),
                self.bottom - self.y_axis.share(y) * _PLOT_HEIGHT,
            )
            for x, y in zip(xs.tolist(), ys.tolist(), strict=True)
        ]

    def end(self, line: Line) -> Point | None:
        """Its last value that is a number, in pixels."""
        pairs = zip(reversed(line.xs), reversed(line.ys), strict=False)
        last = next((([x], [y]) for x, y in pairs if math.isfinite(y)), None)
        return None if last is None else self.points(*map(np.array, last))[0]


def line_chart(lines: Sequence[Line], title: str, x_label: str, y_label: str) -> str:
    """An ``<svg>`` of all lines on linear axes; any number of lines, also none or empty ones.

    A line of very many points is pale, with its mean upon it. Raises ValueError where a line has
    not as many xs as ys.
    """
    names = [line.name for line in lines]
    room = naming.room_px(names, _PLOT_HEIGHT, _WIDTH)
    frame = _Frame(
        axis_of((x for line in lines for x in line.xs), 8, is_padded=False),
        axis_of((y for line in lines for y in line.ys), 6, is_padded=True),
        right=_WIDTH - (_RIGHT if room is None else max(_RIGHT, room)),
    )
    if room is None:
        label, label_px = naming.below(names, _LEFT, frame.bottom + 62, _WIDTH - _LEFT)
    else:
        endings = [naming.Ending(line.name, frame.end(line)) for line in lines]
        label, label_px = naming.beside(endings, frame.right, _TOP, frame.bottom), 0
    most = min(_MOST_POINTS, max(_FEWEST_POINTS, _MOST_POINTS_IN_ALL // max(1, len(lines))))
    layers = [_layers(line, index, frame, most) for index, line in enumerate(lines)]
    # What is pale lies under all that is not.
    marks = "".join(layer for level in zip(*layers, strict=True) for layer in level)
    if not any(frame.end(line) for line in lines):
        marks += text_element((_LEFT + frame.right) / 2, _TOP + _PLOT_HEIGHT / 2, "no values")
    axes = _axes(frame, x_label, y_label)
    return _picture(title, frame.bottom + _BELOW + label_px, axes + marks + label)


def _picture(title: str, height: float, inner: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="line-chart" role="img" '
        f'width="{_WIDTH}" height="{height:g}" viewBox="0 0 {_WIDTH} {height:g}">'
        f"<title>{escaped(title)}</title><style>{_STYLE}</style>"
        f'<rect class="ground" width="100%" height="100%"/>'
        f'<text class="head" x="{_LEFT}" y="26">{escaped(shortened(title, _TITLE_CHARACTERS))}'
        f"</text>{inner}</svg>\n"
    )


def _axes(frame: _Frame, x_label: str, y_label: str) -> str:
    parts = []
    for tick, text in zip(frame.y_axis.ticks, frame.y_axis.texts, strict=True):
        y = frame.bottom - frame.y_axis.share(tick) * _PLOT_HEIGHT
        parts += [_rule("grid", y, frame.right), text_element(_LEFT - 8, y + 4, text, "end")]
    parts.append(_rule("base", frame.bottom, frame.right))
    for tick, text in zip(frame.x_axis.ticks, frame.x_axis.texts, strict=True):
        x = _LEFT + frame.x_axis.share(tick) * (frame.right - _LEFT)
        parts.append(text_element(x, frame.bottom + 18, text))
    parts.append(text_element((_LEFT + frame.right) / 2, frame.bottom + 38, x_label))
    middle = _TOP + _PLOT_HEIGHT / 2
    turned = text_element(0, 0, y_label)
    parts.append(f'<g transform="translate(16 {middle:g}) rotate(-90)">{turned}</g>')
    return "".join(parts)


def _rule(kind: str, y: float, right: float) -> str:
    return f'<path class="{kind}" d="M{_LEFT},{y:.1f}H{right:.1f}"/>'


def _layers(line: Line, index: int, frame: _Frame, most: int) -> tuple[str, str]:
    """A line's pale part, empty for one of few points, and its solid part."""
    color, dash = look(index)
    xs, ys = np.asarray(line.xs, np.float64), np.asarray(line.ys, np.float64)
    if xs.shape != ys.shape:
        raise ValueError(f"line {line.name!r}: {len(xs)} xs and {len(ys)} ys")
    kept = thin(ys, most)
    head = f'<g class="c{color}'
    title = f'"><title>{escaped(line.name)}</title>'
    if len(kept) == len(ys):
        return "", f"{head}{title}{_drawn(frame.points(xs, ys), dash)}</g>"
    pale = _drawn(frame.points(xs[kept], ys[kept]), "")
    solid = _drawn(frame.points(*mean_line(xs, ys, _MEANS)), dash)
    return f"{head} pale{title}{pale}</g>", f"{head}{title}{solid}</g>"


def _drawn(points: Sequence[Point], dash: str) -> str:
    """A path over all stretches between gaps, and a dot for a point on its own."""
    grouped = groupby(points, key=lambda point: math.isfinite(point[1]))
    stretches = [list(group) for is_finite, group in grouped if is_finite]
    path = "".join(
        "M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in stretch)
        for stretch in stretches
        if len(stretch) > 1
    )
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    dots = "".join(
        f'<circle cx="{stretch[0][0]:.1f}" cy="{stretch[0][1]:.1f}" r="3"/>'
        for stretch in stretches
        if len(stretch) == 1
    )
    return (f'<path d="{path}"{dashes}/>' if path else "") + dots


def _rules(theme: Theme) -> str:
    lines = "".join(
        f".line-chart .c{i}{{stroke:{c}}}.line-chart .c{i} circle{{fill:{c}}}"
        for i, c in enumerate(theme.lines)
    )
    return (
        f".line-chart .ground{{fill:{theme.ground}}}.line-chart text{{fill:{theme.text}}}"
        f".line-chart .grid{{stroke:{theme.grid}}}.line-chart .base{{stroke:{theme.text}}}{lines}"
    )


_STYLE = (
    f".line-chart text{{font:{naming.FONT_PX}px system-ui,sans-serif}}"
    ".line-chart .head{font-size:15px;font-weight:600}"
    ".line-chart path{fill:none;stroke-width:1.6;stroke-linejoin:round}"
    ".line-chart .pale{opacity:.3}"
    ".line-chart .grid,.line-chart .base,.line-chart .tie{stroke-width:1}"
    f"{_rules(LIGHT)}@media(prefers-color-scheme:dark){{{_rules(DARK)}}}"
)
