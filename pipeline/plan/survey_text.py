"""A survey as text of 80 columns."""

import textwrap
from collections.abc import Callable, Sequence

from pipeline.plan.advice import Kind
from pipeline.plan.scaling import StepForecast
from pipeline.plan.survey import ENOUGH, Impossible, Limit, Survey

_WIDTH = 80
_MOST_ROWS = 16
_LEFT_OUT = (
    "Not in it: loading images (`pipeline.data.bench` times it), evaluations, checkpoints, and "
    "what else shares the network. compute: of a rank's slots; update: the optimizer's, by the "
    "memory's speed (0: part of the img/s); net: all collectives; waits: what of them the "
    "backward pass does not hide; sent: by a rank, in rings. A rank's img/s is taken to be the "
    "same at any micro-batch."
)
_NO_ADVICE = "no advice: the img/s are only a bound; give real ones as --images-per-second"
_KINDS: dict[Kind, str] = {
    "setting": "same training, also resumed",
    "new run": "same images per step, other draws: a new run",
    "recipe": "another training",
    "code": "no setting today",
    "network": "hardware",
}


def survey_text(surveys: Sequence[Survey | Impossible], assumptions: Sequence[str]) -> str:
    """Tables, advice, and what it all rests on."""
    parts = ["\n".join(wrapped(f"- {line}", 2) for line in assumptions)]
    parts += [_one(survey) for survey in surveys]
    return "\n\n".join([*parts, wrapped(_LEFT_OUT)])


def wrapped(text: str, indent: int = 0) -> str:
    """Lines of at most 80 columns; those after the first are indented."""
    return textwrap.fill(
        text,
        _WIDTH,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _one(survey: Survey | Impossible) -> str:
    if isinstance(survey, Impossible):
        return wrapped(f"# global batch {survey.global_batch}: {' '.join(survey.error.split())}", 2)
    title = (
        f"# global batch {survey.global_batch} = {survey.micro_batches} micro-batches of "
        f"{survey.micro_batch}"
    )
    lines = [title, *_table(survey)]
    lines += [wrapped(f"{_ranges(one.nodes)} nodes: {one.reason}", 2) for one in survey.unfit]
    lines.append("")
    if survey.is_bound:
        lines.append(_NO_ADVICE)
    elif survey.limit is None:
        lines.append(f"at least {ENOUGH:.0%} on all of them")
    else:
        lines += _advice(survey)
    return "\n".join(lines)


def _table(survey: Survey) -> list[str]:
    shown = _shown(survey.rows, survey.limit)
    cells = [[name for name, _ in _COLUMNS], ["", "", "", "", *["ms"] * 5, "MB", "%", "", ""]]
    cells += [[_cell(row, index) for index in range(len(_COLUMNS))] for row in shown]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        " ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    if len(shown) < len(survey.rows):
        lines.append(f"({len(shown)} of {len(survey.rows)} numbers of nodes; --json has all)")
    return lines


def _shown(rows: Sequence[StepForecast], limit: Limit | None) -> list[StepForecast]:
    """All where they are few; else doublings, the last, and those that the text speaks of."""
    if len(rows) <= _MOST_ROWS:
        return list(rows)
    wanted = {rows[0].nodes, rows[-1].nodes} | {2**power for power in range(20)}
    if limit is not None:
        wanted |= {limit.first, limit.nodes}
    return [row for row in rows if row.nodes in wanted]


def _cell(row: StepForecast, index: int) -> str:
    return _COLUMNS[index][1](row)


def _ms(seconds: float, form: str = ".4g") -> str:
    return _short(seconds * 1e3, form, 1e3)


def _short(value: float, form: str, whole_from: float) -> str:
    """By ``form``, or a whole number; from 100,000 on thousands (k), millions (M), billions (G)."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= max(size, 1e5):
            return f"{value / size:.{0 if value >= 100 * size else 1}f}{suffix}"
    return format(value, ".0f" if value >= whole_from else form)


_COLUMNS: tuple[tuple[str, Callable[[StepForecast], str]], ...] = (
    ("nodes", lambda row: str(row.nodes)),
    ("ranks", lambda row: str(row.ranks)),
    ("slots", lambda row: str(row.slots)),
    ("idle", lambda row: str(row.idle_slots)),
    ("compute", lambda row: _ms(row.compute_s)),
    ("update", lambda row: _ms(row.update_s, ".2f")),
    ("net", lambda row: _ms(row.exchange_s, ".1f")),
    ("waits", lambda row: _ms(row.exposed_s, ".1f")),
    ("step", lambda row: _ms(row.step_s)),
    ("sent", lambda row: _short(row.sent_bytes / 1e6, ".0f", 1)),
    ("eff.", lambda row: f"{row.efficiency * 100:.1f}"),
    ("hours", lambda row: _hours(row.hours)),
    ("rank-h", lambda row: _hours(row.rank_hours)),
)


def _hours(hours: float) -> str:
    return _short(hours, ".3g", 100)


def _advice(survey: Survey) -> list[str]:
    limit = survey.limit
    assert limit is not None
    by_nodes = {row.nodes: row for row in survey.rows}
    first = by_nodes[limit.first]
    idle = f" ({first.idle_slots} idle slots)" if first.idle_slots else ""
    text = f"under {ENOUGH:.0%} first on {_nodes(first.nodes)}{idle}: {first.efficiency:.1%}."
    if first.idle_slots:
        numbers = ", ".join(map(str, limit.better_nodes)) or "none"
        text += f" Nodes without idle slots: {numbers}."
        if limit.first_without_idle_slots is None:
            text += f" On those it is at least {ENOUGH:.0%}."
        else:
            shown = by_nodes[limit.first_without_idle_slots]
            text += f" Of those, under it first on {shown.nodes}: {shown.efficiency:.1%}."
    lines = [wrapped(text, 2)]
    if not limit.advice:
        return [*lines, f"nothing known helps on {_nodes(limit.nodes)}"]
    lines.append(f"what helps on {_nodes(limit.nodes)}, the most useful first:")
    for advice in limit.advice:
        what = f"{advice.efficiency:7.1%}  {advice.change} ({_KINDS[advice.kind]})"
        lines.append(wrapped(what, 9))
    return lines


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _ranges(numbers: Sequence[int]) -> str:
    """``9-64`` for all of them, ``3, 9-64`` with gaps."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
