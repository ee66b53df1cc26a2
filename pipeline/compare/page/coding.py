"""Numbers as compact text for the page; ``assets/1-data.js`` reads them back."""

import base64
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KNOTS = 65
_LINEAR_TOLERANCE = 1e-4
"""Of the range: below it nobody sees that a line is not quite straight."""


def pack_values(values: NDArray[np.float64], width: int) -> str:
    """(N,) as base64 of little-endian float32, NaN and infinity included.

    ``width``: bytes of each that are kept, 4 or 3; without the lowest byte a value is true
    to 1 part in 65,000.
    """
    with np.errstate(over="ignore"):
        bits = values.astype("<f4").view("<u4")
    if width == 3:
        # Rounded, not cut; infinity and NaN have zeros there.
        bits = (bits.astype(np.uint64) + 0x80 >> 8).astype("<u4")
    return _base64(bits.view(np.uint8).reshape(-1, 4)[:, :width])


def pack_steps(steps: NDArray[np.int64]) -> list[Any]:
    """(N,) ascending, N of at least 1: ``[first, unit, bytes per number, base64]``.

    The numbers are the distances in units, little-endian and unsigned.
    """
    distances = np.diff(steps)
    unit = math.gcd(*distances.tolist()) or 1
    distances //= unit
    largest = int(distances.max(initial=0))
    width = next(width for width in (1, 2, 4, 8) if largest < 1 << 8 * width)
    return [int(steps[0]), unit, width, _base64(distances.astype(f"<u{width}"))]


def knots(last_step: int) -> NDArray[np.int64]:
    """Up to _KNOTS even steps from 0 to the last one: (K,)."""
    count = min(_KNOTS, last_step + 1)
    return np.arange(count, dtype=np.int64) * last_step // max(1, count - 1)


def pack_axis(steps: NDArray[np.int64], places: NDArray[np.float64]) -> list[float] | None:
    """Where the knots ``steps`` (K,) lie on an axis: ``places`` (K,), or both ends of a straight
    line, or None where they are unknown.
    """
    if not np.isfinite(places).all():
        return None
    straight = np.interp(steps, steps[[0, -1]], places[[0, -1]])
    reach = _LINEAR_TOLERANCE * abs(places[-1] - places[0])
    if len(places) > 2 and np.abs(places - straight).max() <= reach:
        places = places[[0, -1]]
    return [float(f"{place:.6g}") for place in places]


def _base64(numbers: NDArray[np.unsignedinteger]) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers).tobytes()).decode()
