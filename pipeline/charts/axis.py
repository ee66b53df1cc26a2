"""Axes: round values along a range, and numbers as short texts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LEADS = (1, 2, 5, 10)
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_PREFIX_FROM = 1e4
_POWER_BELOW, _POWER_FROM = 1e-3, 1e13
_LEAST, _MOST = 1e-270, 4e307
"""Magnitudes that an axis tells from zero and from each other."""
_PADDING = 0.04
"""Of the range, above and below, so that no line runs along the edge."""


@dataclass(frozen=True)
class Axis:
    """A linear scale from ``low`` to ``high``, which differ, with ``ticks`` between them."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Where a value stands: 0 at the low end, 1 at the high one."""
        return (_kept(value) - self.low) / (self.high - self.low)

    @property
    def texts(self) -> list[str]:
        """One text per tick, all with the same decimals."""
        return tick_texts(self.ticks)


def axis_of(values: Iterable[float], most_ticks: int, is_padded: bool) -> Axis:
    """The axis that shows all finite values; from 0 to 1 where there are none."""
    finite = [_kept(value) for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        reach = abs(low) / 20 or 1.0
        low, high = (low - reach if low else 0.0), high + reach
    elif is_padded:
        reach = _PADDING * (high - low)
        # What cannot be below 0 gets no axis that says so.
        low, high = (0.0 if 0 <= low < reach else low - reach), high + reach
    return Axis(low, high, round_values(low, high, most_ticks))


def _kept(value: float) -> float:
    """A finite value as near as doubles can reckon with: no range overflows or is denormal."""
    if not math.isfinite(value):
        return value
    if abs(value) < _LEAST:
        return 0.0
    return max(-_MOST, min(value, _MOST))


def round_values(low: float, high: float, most: int) -> tuple[float, ...]:
    """At most ``most`` (2 or more) values in low..high, multiples of 1, 2 or 5 times ten^k."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [lead * power * scale for scale in (1, 10) for lead in _LEADS]
    for step in steps:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return tuple(_exact(number, step) for number in range(first, last + 1))
    raise AssertionError(f"no step for {low} to {high}")


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Texts of evenly spaced values: ``0.25``, ``20k``, ``5e-4``."""
    if len(ticks) < 2:
        return [number_text(tick) for tick in ticks]
    largest, step = max(map(abs, ticks)), ticks[1] - ticks[0]
    if not _POWER_BELOW <= largest < _POWER_FROM:
        return [number_text(tick) for tick in ticks]
    unit, suffix = _prefix(largest)
    decimals = _decimals(step / unit)
    return [f"{tick / unit:.{decimals}f}{suffix if tick else ''}" for tick in ticks]


def number_text(value: float, digits: int = 4) -> str:
    """A number to ``digits`` digits: ``0.3218``, ``76.94``, ``375k``, ``3.2e-5``; NaN as such."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    rounded = float(f"{value:.{digits}g}")
    value = rounded if math.isfinite(rounded) else value  # the largest doubles round up to ∞
    if value and not _POWER_BELOW <= abs(value) < _POWER_FROM:
        lead, power = f"{value:.{digits - 2}e}".split("e")
        return f"{float(lead):g}e{int(power)}"
    unit, suffix = _prefix(abs(value))
    return f"{value / unit:.{digits}g}{suffix}"


def _prefix(largest: float) -> tuple[float, str]:
    if largest >= _PREFIX_FROM:
        return next((unit, suffix) for unit, suffix in _PREFIXES if largest >= unit)
    return 1.0, ""


def _decimals(step: float) -> int:
    """Digits behind the point that a multiple of 1, 2 or 5 times ten^k needs."""
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _exact(number: int, step: float) -> float:
    """``number * step`` without the dust of binary fractions."""
    return round(number * step, 12 - math.floor(math.log10(abs(number * step)))) if number else 0.0
