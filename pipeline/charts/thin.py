"""Fewer points that look the same: of each stretch of a line, its lowest and its highest."""

import numpy as np
from numpy.typing import NDArray


def thin(ys: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Which points to keep, ascending: (K,) with K <= max(most, 5).

    ys: (N,), may hold NaN and infinity. The first and the last point stay, and so do the lowest
    and the highest of each of many even stretches, so no spike is lost; where a stretch has
    values that are not finite, one of them stays, so a gap remains a gap.
    """
    most = max(most, 5)
    if len(ys) <= most:
        return np.arange(len(ys))
    finite = np.isfinite(ys)
    per_stretch = 2 if finite.all() else 3
    starts, places = _stretches(len(ys), (most - 2) // per_stretch)
    values, is_finite = ys[places], finite[places]
    kept = [
        starts + np.where(is_finite, values, np.inf).argmin(axis=1),
        starts + np.where(is_finite, values, -np.inf).argmax(axis=1),
        np.array([0, len(ys) - 1]),
    ]
    if per_stretch == 3:
        kept.append((starts + is_finite.argmin(axis=1))[~is_finite.all(axis=1)])
    return np.unique(np.concatenate(kept))


def mean_line(
    xs: NDArray[np.float64], ys: NDArray[np.float64], most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The means of ``most`` even stretches of a line: xs and ys (K,), K <= most.

    A stretch with a value that is not finite is NaN.
    """
    _, places = _stretches(len(ys), most)
    return xs[places].mean(axis=1), ys[places].mean(axis=1)


def _stretches(count: int, parts: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first places (K,) of about ``parts`` stretches of equal length, and all: (K, length).

    The last stretch reaches back into the one before it, so that it is as long as they are.
    """
    length = -(-count // max(1, parts))
    starts = np.minimum(np.arange(0, count, length), count - length)
    return starts, starts[:, None] + np.arange(length)
