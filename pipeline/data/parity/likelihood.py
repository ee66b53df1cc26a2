"""How likely two samples are of one distribution: p-values of the usual tests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp

_FEW_VALUES = 60
_RARE = 10.0


def p_same(first: NDArray, second: NDArray) -> float:
    """Of two samples of numbers: chi-square where they take few values, else Kolmogorov-Smirnov.

    first: (N,), second: (M,). Nothing on both sides is the same, on one side it is not.
    """
    values, where = np.unique(np.concatenate([first, second]), return_inverse=True)
    if len(values) > _FEW_VALUES and len(first) and len(second):
        return float(ks_2samp(first, second, method="asymp").pvalue)  # pyright: ignore
    return _p_counts(where[: len(first)], where[len(first) :])


def p_rows(first: NDArray, second: NDArray) -> float:
    """Of two samples of rows of whole numbers, by chi-square over the rows that occur.

    first: (N, K), second: (M, K).
    """
    _, where = np.unique(np.concatenate([first, second]), axis=0, return_inverse=True)
    where = where.reshape(-1)
    return _p_counts(where[: len(first)], where[len(first) :])


def p_together(first: Sequence[NDArray], second: Sequence[NDArray]) -> float:
    """Of several numbers drawn together: whether they hang together in the same way.

    first: K arrays (N,), second: K arrays (M,). Each number counts as low or high, parted at
    the median of both, and chi-square compares how often each of the 2**K cases occurs.
    """
    medians = [np.median(np.concatenate(pair)) for pair in zip(first, second, strict=True)]
    cases = [
        np.stack([values > median for values, median in zip(sample, medians, strict=True)], axis=1)
        for sample in (first, second)
    ]
    return p_rows(*cases)


def _p_counts(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """first, second: numbers of categories."""
    if not len(first) or not len(second):
        return float(len(first) == len(second))
    categories = int(max(first.max(), second.max())) + 1
    counts = np.stack([np.bincount(s, minlength=categories) for s in (first, second)])
    # Chi-square wants some of each: the rare ones count as one.
    rare = counts.sum(axis=0) < 2 * _RARE
    pooled = np.concatenate([counts[:, ~rare], counts[:, rare].sum(axis=1, keepdims=True)], axis=1)
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    if pooled.shape[1] < 2:
        return 1.0  # one value, on both sides
    return float(chi2_contingency(pooled, correction=False).pvalue)  # pyright: ignore
