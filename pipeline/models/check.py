"""The paper's figures beside what this code builds: sizes, recipe, Table 5, peers, follow-up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import load
from pipeline.config.flatten import dotted
from pipeline.config.load import show
from pipeline.config.schema import ModelConfig
from pipeline.models.cost import Cost, model_cost
from pipeline.models.text_table import text_table
from pipeline.paper import Figures, FollowUp, Model, Peer

_IMG_SIZE = 224
_TOLERANCE = 0.02


@dataclass(frozen=True)
class Row:
    """One figure: what the paper says, what we have."""

    group: str
    name: str
    figure: str
    paper: str
    ours: str
    difference: str
    ok: bool | None
    """None where there is nothing to compare with."""
    note: str = ""


def rows(figures: Figures, configs: Path) -> Iterator[Row]:
    """All figures that code can build, in the paper's order; ``configs`` holds the config files.

    Parameters that we know to the unit must be equal. What the paper prints rounded must be
    within 2 %, or equal once rounded as printed.
    """
    for group, models in (("Table 1", figures.sizes), ("Table 5", figures.ablations)):
        for model in models:
            yield from _model_rows(group, model, figures.recipe, configs / model.config)
    for peer in figures.peers:
        yield from _peer_rows(peer)
    for model in figures.follow_up:
        yield from _follow_up_rows(model)


def as_text(found: Sequence[Row]) -> str:
    """A table with the verdict of each row."""
    cells = [(r.group, r.name, r.figure, r.paper, r.ours, r.difference, _verdict(r)) for r in found]
    return text_table(("group", "model", "figure", "paper", "ours", "difference", ""), cells)


def _verdict(row: Row) -> str:
    return "  ".join(word for word in ("DIFFERS" if row.ok is False else "", row.note) if word)


def _model_rows(group: str, model: Model, recipe: dict[str, Any], path: Path) -> Iterator[Row]:
    config = load(path).config
    ours = dotted(config)
    expected = {**recipe, **model.settings}
    wrong = [key for key, value in expected.items() if _plain(ours[key]) != value]
    yield Row(
        group,
        model.name,
        "settings",
        str(len(expected)),
        str(len(expected) - len(wrong)),
        f"-{len(wrong)}" if wrong else "+0",
        not wrong,
        f"{model.config}"
        + "".join(f"  {key}={show(ours[key])}, not {show(_tuple(expected[key]))}" for key in wrong),
    )
    cost = model_cost(config.model, _IMG_SIZE).total
    yield _exact(group, model.name, "parameters", model.parameters, cost.trained)
    if model.frozen or cost.frozen:
        yield _exact(group, model.name, "frozen parameters", model.frozen, cost.frozen)
    yield from _printed_rows(group, model, cost)


def _peer_rows(peer: Peer) -> Iterator[Row]:
    if peer.timm is None:
        why = f"timm lacks it{'; ' + peer.note if peer.note else ''}"
        yield Row(
            "Table 2", peer.name, "parameters, M", f"{peer.parameters_m:g}", "", "", None, why
        )
        yield Row("Table 2", peer.name, "MACs, G", f"{peer.macs_g:g}", "", "", None, why)
        return
    cost = model_cost(ModelConfig(name=peer.timm), _IMG_SIZE).total
    yield from _printed_rows("Table 2", peer, cost)


def _follow_up_rows(model: FollowUp) -> Iterator[Row]:
    cost = model_cost(ModelConfig(name=model.name), _IMG_SIZE).total
    yield from _printed_rows("follow-up", model, cost)


def _printed_rows(group: str, model: Model | Peer | FollowUp, cost: Cost) -> Iterator[Row]:
    figures = [("parameters, M", model.parameters_m, cost.trained / 1e6)]
    if not isinstance(model, Peer) and model.frozen_m:
        figures.append(("frozen parameters, M", model.frozen_m, cost.frozen / 1e6))
    figures.append(("MACs, G", model.macs_g, cost.macs / 1e9))
    for figure, printed, ours in figures:
        row = _printed(group, model.name, figure, printed, ours)
        if row.ok or not isinstance(model, Peer) or model.differs is None:
            yield row
            continue
        known = model.differs.parameters_m if "parameters" in figure else model.differs.macs_g
        yield replace(row, ok=agrees(known, ours), note=f"timm's model has {known:g}")


def agrees(printed: float, ours: float) -> bool:
    """Within 2 % of a printed figure, or equal to it after rounding to its digits."""
    return abs(ours - printed) <= _TOLERANCE * printed or round(ours, _digits(printed)) == printed


def _printed(group: str, name: str, figure: str, printed: float, ours: float) -> Row:
    return Row(
        group,
        name,
        figure,
        f"{printed:g}",
        f"{ours:.3f}",
        f"{100 * (ours / printed - 1):+.1f} %",
        agrees(printed, ours),
    )


def _exact(group: str, name: str, figure: str, paper: int, ours: int) -> Row:
    return Row(group, name, figure, f"{paper:,}", f"{ours:,}", f"{ours - paper:+,}", paper == ours)


def _digits(printed: float) -> int:
    """Digits after the point, as the number is written; a whole number has none."""
    return len(f"{printed:g}".partition(".")[2])


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
