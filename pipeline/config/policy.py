"""timm's RandAugment strings, such as ``rand-m9-mstd0.5-inc1``; pure, no timm."""

import re
from dataclasses import dataclass
from functools import cache

LEVELS = 10
"""Magnitudes count in tenths of an operation's range (timm's _LEVEL_DENOM)."""

_UNIFORM_ABOVE = 100.0
_SECTION = re.compile(r"([a-z]+)(.*)")


@dataclass(frozen=True)
class RandAugmentPolicy:
    """What a policy string says; the defaults are timm's."""

    magnitude: int = LEVELS
    """m: mean magnitude, in levels."""
    layers: int = 2
    """n: operations drawn per image, with replacement."""
    prob: float = 0.5
    """p: probability that a drawn operation is applied."""
    magnitude_std: float = 0.0
    """mstd: standard deviation of the magnitude; infinite draws it uniformly from 0 to m."""
    magnitude_max: int = LEVELS
    """mmax: upper bound of the drawn magnitude."""
    increasing: bool = False
    """inc: the variants of the operations that grow stronger with the magnitude."""


@cache
def parse_policy(text: str) -> RandAugmentPolicy:
    """Read a policy string. Raises ValueError that names the part that is not supported."""
    kind, *sections = text.split("-")
    if kind != "rand":
        raise ValueError(
            f"aa={text}: of timm's policies RandAugment is carried out, not {kind!r}; "
            "use rand-m9-mstd0.5-inc1, or null for none"
        )
    found: dict[str, str] = {}
    for section in sections:
        match = _SECTION.fullmatch(section)
        key, value = match.groups() if match else (section, "")
        if key not in _READERS:
            raise ValueError(
                f"aa={text}: the part {section!r} is not supported; known are "
                f"{', '.join(_READERS)}, each with a number, as in rand-m9-mstd0.5-inc1"
            )
        if key in found:
            raise ValueError(f"aa={text}: {key} stands there twice; keep one")
        found[key] = value
    values: dict[str, int | float | bool] = {}
    for key, value in found.items():
        name, read, low, high = _READERS[key]
        try:
            number = read(value)
        except ValueError:
            kind = "a whole number" if read is int else "a number"
            raise ValueError(f"aa={text}: {key}{value} needs {kind} after {key}") from None
        if not low <= number <= high:
            raise ValueError(f"aa={text}: {key}{value} must lie between {low} and {high}")
        values[name] = number
    if values.get("magnitude_std", 0.0) > _UNIFORM_ABOVE:
        values["magnitude_std"] = float("inf")
    values["increasing"] = bool(values.get("increasing", False))
    return RandAugmentPolicy(**values)  # type: ignore[arg-type]


# Section: field, its type, lowest and highest value.
_READERS: dict[str, tuple[str, type[int] | type[float], float, float]] = {
    "m": ("magnitude", int, 0, 1000),
    "n": ("layers", int, 1, 15),
    "p": ("prob", float, 0.0, 1.0),
    "mstd": ("magnitude_std", float, 0.0, float("inf")),
    "mmax": ("magnitude_max", int, 1, 1000),
    "inc": ("increasing", int, 0, 1),
}
