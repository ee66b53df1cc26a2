"""The names of lines: beside their ends where they fit, else in rows below the plot."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.charts.colors import look
from pipeline.charts.text import shortened, text_element, width_em

FONT_PX = 12
_ROW_PX = 17
_SWATCH_PX = 24
_GAP_PX = 6
_BESIDE_PX = 14
"""From the end of a line to its name."""
_LARGEST_SHARE = 0.4
"""Of the picture's width, that names beside the lines may take."""


@dataclass(frozen=True)
class Ending:
    """Where a line ends, in pixels; None for one without a point."""

    name: str
    end: tuple[float, float] | None


def room_px(names: Sequence[str], rows_px: float, width_px: float) -> float | None:
    """What the names need at the right of the plot; None where they do not fit there."""
    room = _BESIDE_PX + _GAP_PX + max((_name_px(name) for name in names), default=0)
    fits = len(names) * _ROW_PX <= rows_px and room <= _LARGEST_SHARE * width_px
    return room if fits else None


def beside(endings: Sequence[Ending], right: float, top: float, bottom: float) -> str:
    """The names at the right edge of the plot, each tied to the end of its line."""
    last = (right, bottom)
    order = sorted(range(len(endings)), key=lambda i: (endings[i].end or last)[1])
    heights = apart([(endings[i].end or last)[1] for i in order], _ROW_PX, top, bottom)
    return "".join(
        _tied(endings[i], i, right + _BESIDE_PX, y) for i, y in zip(order, heights, strict=True)
    )


def below(names: Sequence[str], left: float, top: float, width_px: float) -> tuple[str, float]:
    """The names in columns from ``top`` on, and the height that they take."""
    column_px = _SWATCH_PX + 3 * _GAP_PX + max((_name_px(name) for name in names), default=0)
    columns = max(1, int(width_px // column_px))
    elements = ""
    for index, name in enumerate(names):
        x, y = left + index % columns * column_px, top + index // columns * _ROW_PX
        line = f"M{x:.1f},{y - 4:.1f}h{_SWATCH_PX}"
        elements += _swatch(index, line) + text_element(x + _SWATCH_PX + _GAP_PX, y, name, "start")
    return elements, _ROW_PX * -(-len(names) // columns)


def apart(wanted: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Ascending places near the ``wanted`` ones (ascending), ``least`` apart, in low..high."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, low, *(p + least for p in places[-1:])))
    limit = high
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - least
    return places


def _tied(ending: Ending, index: int, x: float, y: float) -> str:
    x_end, y_end = ending.end or (x - 4, y)
    tie = f"M{x_end:.1f},{y_end:.1f}L{x - 4:.1f},{y:.1f}"
    return _swatch(index, tie, "tie") + text_element(x, y + 4, ending.name, "start")


def _swatch(index: int, path: str, kind: str = "") -> str:
    color, dash = look(index)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path class="{f"c{color} {kind}".rstrip()}" d="{path}"{dashes}/>'


def _name_px(name: str) -> float:
    return width_em(shortened(name)) * FONT_PX
