"""What is proven: a row per claim, with what was measured and the bound that it must keep."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Measure:
    """A number and its bound."""

    name: str
    value: float
    bound: float
    is_least: bool = False
    """The bound is the least that the value may be; else the most."""

    @property
    def ok(self) -> bool:
        # NaN keeps no bound.
        return self.value >= self.bound if self.is_least else self.value <= self.bound


@dataclass(frozen=True)
class Row:
    """One claim."""

    section: str
    what: str
    measures: tuple[Measure, ...]

    @property
    def ok(self) -> bool:
        return all(measure.ok for measure in self.measures)


@dataclass(frozen=True)
class LevelBounds:
    """How far images may be apart, in levels of 0..255; None is not measured."""

    mean: float | None = None
    """Mean absolute difference, of the worst image."""
    most: float | None = None
    """Largest difference of all pixels."""
    inner: float | None = None
    """Largest difference of all but the outermost pixels."""


def level_measures(
    ours: NDArray[np.uint8], theirs: NDArray[np.uint8], bounds: LevelBounds
) -> tuple[Measure, ...]:
    """Differences of two (B, side, side, 3) arrays."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == np.uint8
    apart = np.maximum(ours, theirs) - np.minimum(ours, theirs)
    measures: list[Measure] = []
    if bounds.mean is not None:
        measures.append(Measure("mean", float(apart.mean(axis=(1, 2, 3)).max()), bounds.mean))
    if bounds.most is not None:
        measures.append(Measure("max", float(apart.max()), bounds.most))
    if bounds.inner is not None:
        measures.append(Measure("inner max", float(apart[:, 1:-1, 1:-1].max()), bounds.inner))
    return tuple(measures)


def worst(found: Sequence[tuple[Measure, ...]]) -> tuple[Measure, ...]:
    """The largest value of each measure; all have the same names and bounds."""
    return tuple(max(same, key=lambda measure: measure.value) for same in zip(*found, strict=True))


def table(rows: Sequence[Row]) -> str:
    """Aligned plain text, a table per section: what, measured, bound, ok."""
    blocks: list[str] = []
    for section in dict.fromkeys(row.section for row in rows):
        lines = [("what", "measured", "bound", "ok")]
        lines += [
            (row.what, *_texts(row.measures), "ok" if row.ok else "NO")
            for row in rows
            if row.section == section
        ]
        widths = [max(len(line[column]) for line in lines) for column in range(3)]
        aligned = [
            "  ".join(text.ljust(width) for text, width in zip(line, [*widths, 0], strict=True))
            for line in lines
        ]
        blocks.append("\n  ".join([section, *aligned]))
    return "\n\n".join(blocks)


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All rows as JSON values; NaN is null."""
    return [
        {
            "section": row.section,
            "what": row.what,
            "measured": {m.name: None if math.isnan(m.value) else m.value for m in row.measures},
            "bound": {
                m.name: {"at_least" if m.is_least else "at_most": m.bound} for m in row.measures
            },
            "ok": row.ok,
        }
        for row in rows
    ]


def _texts(measures: Sequence[Measure]) -> tuple[str, str]:
    """What was measured, and its bounds."""
    bounds = {(measure.bound, measure.is_least) for measure in measures}
    values = [f"{measure.name} {_number(measure.value):<6}" for measure in measures]
    limits = [f"{'≥' if m.is_least else '≤'} {_number(m.bound)}" for m in measures]
    if len(bounds) == 1 and len(measures) > 1:
        limits = [f"each {limits[0]}"]
    return " ".join(values).rstrip(), "  ".join(limits)


def _number(value: float) -> str:
    if value == 0 or value >= 100:
        return f"{value:.0f}"
    return f"{value:.0e}" if value < 0.001 else f"{value:.2g}"
