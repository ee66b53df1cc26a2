"""Tables of one line per run, that fit into the width of a terminal or of a file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.markup import escape
from rich.table import Table

ABSENT = "–"
_GAP = 2
_NAME_LEAST = 30
_NODES_LEAST = 14


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading and a cell per row."""

    name: str
    cells: tuple[str, ...]
    is_number: bool = False
    rank: int = 0
    """What there is no room for is left out, the highest rank first; 0 always has room."""

    @property
    def width(self) -> int:
        return max(len(text) for text in (self.name, *self.cells))

    def cut_to(self, width: int) -> "Column":
        """The same with cells of at most so many characters."""
        return replace(self, cells=tuple(cut(cell, width) for cell in self.cells))


def cut(text: str, width: int) -> str:
    """A long text without its middle: names of a sweep differ at their ends."""
    if len(text) <= width:
        return text
    kept = max(0, width - 1)
    tail = kept * 2 // 3
    return text[: kept - tail] + "…" + text[len(text) - tail :]


def fit(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns that say anything, the first of them and that of nodes cut, to fit ``width``."""
    shown = [column for column in columns if set(column.cells) - {ABSENT, ""}]
    while True:
        shown = [
            column.cut_to(_NODES_LEAST) if column.name == "nodes" else column for column in shown
        ]
        others = sum(column.width + _GAP for column in shown[1:])
        room = width - others
        spare = [column for column in shown if column.rank]
        if room >= min(shown[0].width, _NAME_LEAST) or not spare:
            return [shown[0].cut_to(max(room, len(shown[0].name))), *shown[1:]]
        least = max(spare, key=lambda column: column.rank)
        shown.remove(least)


def draw(columns: Sequence[Column], width: int, style: Callable[[int], str]) -> Table:
    """A table of the columns; ``style``: of a row, by its number."""
    shown = fit(columns, width)
    # The box has a blank of its own between columns.
    padding = (0, _GAP - 1, 0, 0)
    table = Table(
        box=box.SIMPLE_HEAD, header_style="bold", padding=padding, pad_edge=False, show_edge=False
    )
    for column in shown:
        table.add_column(
            column.name,
            justify="right" if column.is_number else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for number in range(len(shown[0].cells)):
        table.add_row(*(escape(column.cells[number]) for column in shown), style=style(number))
    return table
