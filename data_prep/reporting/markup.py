"""The building blocks of a page that needs no other file: escaped text, tables, and its style."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from data_prep.wording import plural, printable

MAX_ROWS = 1000
"""Rows of a table of names."""

_OPEN_ROWS = 20
"""A longer table of names is folded."""


def escaped(value: object) -> str:
    """Any value as text of a page: one line, every special character escaped."""
    return escape(printable(str(value)))


def size_text(size_bytes: int) -> str:
    """``512 B``, ``5.3 MB``, ``147.9 GB``."""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if size_bytes >= 10**power:
            return f"{size_bytes / 10**power:,.1f} {unit}"
    return f"{size_bytes} B"


def section(title: str, parts: Mapping[str, str], kind: str = "splits") -> str:
    """A section with one part per split."""
    inner = "".join(f"<div><h3>{escaped(n)}</h3>{part}</div>" for n, part in parts.items())
    return f'<section><h2>{title}</h2><div class="{kind}">{inner}</div></section>'


def split_table(splits: Iterable[str], rows: Mapping[str, Sequence[str]], kind: str) -> str:
    """One column per split; the names of rows may be those of settings."""
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in splits)
    body = "".join(
        f'<tr><th scope="row">{escaped(name.replace("_", " "))}</th>'
        + "".join(f'<td class="{kind}">{escaped(value)}</td>' for value in values)
        + "</tr>"
        for name, values in rows.items()
    )
    return f'<table class="{kind}s"><tr><td></td>{head}</tr>{body}</table>'


def count_table(title: str, counts: Sequence[tuple[str, int]]) -> str:
    """Names with a number each."""
    rows = "".join(
        f'<tr><td class="text">{escaped(name)}</td><td class="number">{n:,}</td></tr>'
        for name, n in counts
    )
    head = f'<th scope="col">{title}</th><th scope="col" class="number">count</th>'
    return f"<table><tr>{head}</tr>{rows}</table>"


def name_table(columns: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    """Two columns of text, MAX_ROWS of them at most."""
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    body = "".join(
        f'<tr><td class="text">{escaped(first)}</td><td class="text">{escaped(second)}</td></tr>\n'
        for first, second in rows[:MAX_ROWS]
    )
    folded = "" if len(rows) > _OPEN_ROWS else " open"
    return (
        f"<details{folded}><summary>{plural(len(rows), 'name')}</summary>"
        f"<table><tr>{head}</tr>\n{body}</table>{more(len(rows) - MAX_ROWS, 'name')}</details>"
    )


def more(count: int, noun: str) -> str:
    """What is said of rows that a table leaves out; nothing where ``count`` is not above 0."""
    return (
        f'<p class="note">and {plural(count, noun)} more, see manifest.json</p>'
        if count > 0
        else ""
    )


STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --text: #1d2126; --quiet: #59626d;
  --line: #dcdfe3; --mark: #2b6c9e; --warn: #7d4300; --warn-page: #fff3df; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15181c; --text: #e3e6ea; --quiet: #9ba5b1; --line: #30363d; --mark: #69aede;
    --warn: #ffc670; --warn-page: #322510; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 76rem; margin: auto; padding: 1.5rem 1rem 4rem; }
h1, h2, h3, h4, p, figure { margin: 0; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.2; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 1rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin-bottom: .5rem; }
h4 { font-size: .85rem; margin-top: 1.25rem; }
.splits, .pair { display: grid; gap: 2rem 3rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.pair { gap: 0 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 12rem), 1fr)); }
.splits > div { min-width: 0; }
.wide > div + div { margin-top: 2rem; }
.note { color: var(--quiet); font-size: .85rem; margin-top: .5rem; }
.warnings { background: var(--warn-page); color: var(--warn); padding: .75rem 1rem;
  border-left: 4px solid; margin-top: 1.5rem; }
.warnings h2 { margin: 0; border: 0; }
.warnings ul { margin: 0; padding-left: 1.25rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin-top: .75rem; font-size: .9rem; }
th, td { padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { color: var(--quiet); font-weight: 500; }
tr > :last-child { padding-right: 0; }
td, .bars th { overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; }
th[scope=col] { white-space: nowrap; }
.numbers th[scope=col] { text-align: right; }
.texts th[scope=row] { min-width: 6rem; }
.bars th { max-width: 12rem; }
.bars td { vertical-align: middle; }
.bars .bar { width: 60%; }
summary { cursor: pointer; margin-top: .75rem; }
.plot { padding: 1.75rem .25rem 1.75rem 4rem; }
.plot > svg { display: block; width: 100%; height: 10rem; overflow: visible; }
.plot > .sizes { height: auto; aspect-ratio: 1; max-width: 24rem; }
.plot text { font-size: 11px; fill: var(--quiet); }
.grid { stroke: var(--line); }
.guide, .median { stroke: var(--quiet); stroke-dasharray: 4 4; }
.marks, .share { fill: var(--mark); shape-rendering: crispEdges; }
.pale { fill-opacity: .4; }
.share { display: block; width: 100%; height: .7rem; }
.d1 { fill-opacity: .25; } .d2 { fill-opacity: .4; } .d3 { fill-opacity: .55; }
.d4 { fill-opacity: .7; } .d5 { fill-opacity: .85; }
.sheet { display: grid; gap: 1rem .75rem; margin-top: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(96px, 1fr)); }
.frame { height: 96px; display: flex; align-items: end; }
.frame img { max-width: 100%; }
.bad { width: 96px; height: 96px; padding: .3rem; overflow: hidden; overflow-wrap: anywhere;
  border: 1px dashed var(--quiet); color: var(--warn); font-size: .7rem; line-height: 1.3; }
figcaption { font-size: .7rem; line-height: 1.35; color: var(--quiet); margin-top: .25rem; }
figcaption b { display: block; color: var(--text); font-weight: 500; }
"""
