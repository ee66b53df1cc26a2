"""The page: its head, what is above the table, the table, and the places of the curves."""

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from string import Template

from pipeline.charts.colors import DARK, LIGHT
from pipeline.charts.text import escaped
from pipeline.compare.judging.comparison import Comparison
from pipeline.compare.page.payload import payload_json
from pipeline.compare.page.table import table_markup
from pipeline.compare.run import Axis
from pipeline.compare.text.verdict import verdict

_MOST_BYTES = 2_800_000
"""Of a page, for curves are thinned to fit; names and settings are not."""
_ASSETS = files("pipeline.compare.page") / "assets"


def html_page(comparison: Comparison, generated: datetime, axis: Axis = "step") -> str:
    """The whole page: one file that asks for no other, readable without its script.

    ``generated`` stands in the head of the page, with its time zone if it has one; ``axis`` is the
    one that the curves begin with.
    """
    runs, groups = len(comparison.runs), len(comparison.groups)
    title = f"{_count(runs, 'run')} compared"
    parts = {
        "title": title,
        "style": _colors() + _assets(".css"),
        "made": f"{_count(groups, 'group')} · made {generated:%Y-%m-%d %H:%M %Z}".rstrip(),
        "verdict": escaped(verdict(comparison)),
        "warnings": _warnings(comparison.warnings),
        "table": table_markup(comparison),
        "script": _assets(".js"),
    }
    left = _MOST_BYTES - sum(len(part.encode()) for part in parts.values())
    page = Template(_asset("page.html"))
    return page.substitute(parts, data=payload_json(comparison, axis, left))


def _assets(suffix: str) -> str:
    """All files of a kind in the order of their names."""
    names = sorted(path.name for path in _ASSETS.iterdir() if path.name.endswith(suffix))
    return "".join(map(_asset, names))


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _colors() -> str:
    """Those of all charts, as CSS variables: ``--line-0``, …, ``--ground``, ``--grid``."""
    pairs = {f"line-{i}": pair for i, pair in enumerate(zip(LIGHT.lines, DARK.lines, strict=True))}
    pairs |= {"ground": (LIGHT.ground, DARK.ground), "grid": (LIGHT.grid, DARK.grid)}
    rules = "".join(f"--{name}:light-dark({a},{b});" for name, (a, b) in pairs.items())
    return f":root{{{rules}}}\n"


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escaped(text)}</li>" for text in warnings)
    head = f"<summary>{_count(len(warnings), 'warning')}</summary>"
    return f'<details class="warnings" open>{head}<ul>{items}</ul></details>'


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
