"""Whether a difference of best top-1 is more than the noise of the seeds: Welch's t-test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, variance

from pipeline.compare.judging.groups import Group, best_values

TEST = "Welch's t-test"
LEVEL = 0.05
CONFIDENCE = 0.95
BASELINE_WORDS = "baseline"

# Scores are percent of at least some hundred images: this is rounding, not spread.
_NO_SPREAD = 1e-9


@dataclass(frozen=True)
class Difference:
    """Best top-1 of a group less that of the baseline, in points.

    ``p_value`` is two-sided, corrected where several were tested; ``low`` and ``high`` are the
    95 % interval of this difference alone; None where there is no test. ``words`` say what the
    difference is worth, and name the test.
    """

    delta: float | None
    p_value: float | None
    low: float | None
    high: float | None
    words: str

    @property
    def is_significant(self) -> bool:
        return self.p_value is not None and self.p_value < LEVEL


def differences(groups: Sequence[Group], baseline: int) -> list[Difference]:
    """Each group against one of them by Welch's t-test, which assumes no common variance.

    p-values of several tests are corrected after Holm.
    """
    own = groups[baseline]
    raw = [
        Difference(0.0 if own.best_top1 else None, None, None, None, BASELINE_WORDS)
        if index == baseline
        else _untold(group, own)
        for index, group in enumerate(groups)
    ]
    tested = [index for index, one in enumerate(raw) if one.p_value is not None]
    corrected = holm([raw[index].p_value or 0.0 for index in tested])
    for index, p_value in zip(tested, corrected, strict=True):
        told = replace(raw[index], p_value=p_value)
        raw[index] = replace(told, words=_words(told, groups[index], own, len(tested)))
    return raw


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: holds the chance of any false finding, in any dependence."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def p_text(p_value: float) -> str:
    """``p = 0.013``; never 0."""
    if p_value < 0.0001:
        return "p < 0.0001"
    return f"p = {p_value:.4f}" if p_value < 0.01 else f"p = {p_value:.2g}"


def welch(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """``(p, low, high)``: two-sided p and the 95 % interval of mean(ours) - mean(theirs).

    At least two values on each side, and some spread on one of them.
    B. L. Welch, The generalization of Student's problem, Biometrika 34 (1947).
    """
    # scipy.stats does the same but takes a second to import.
    from scipy.special import stdtr, stdtrit

    squares = [variance(values) / len(values) for values in (ours, theirs)]
    error = math.sqrt(sum(squares))
    freedom = sum(squares) ** 2 / sum(
        square**2 / (len(values) - 1)
        for square, values in zip(squares, (ours, theirs), strict=True)
    )
    delta = mean(ours) - mean(theirs)
    reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    return float(2 * stdtr(freedom, -abs(delta) / error)), delta - reach, delta + reach


def _untold(group: Group, baseline: Group) -> Difference:
    """The difference, in words only where there is no test."""
    ours, theirs = best_values(group), best_values(baseline)
    if not ours or not theirs:
        return Difference(None, None, None, None, "no val/top1 to compare")
    delta = mean(ours) - mean(theirs)
    if reason := _no_test(ours, theirs, delta):
        return Difference(delta, None, None, None, reason)
    return Difference(delta, *welch(ours, theirs), words="")


def _no_test(ours: Sequence[float], theirs: Sequence[float], delta: float) -> str | None:
    sizes = len(ours), len(theirs)
    if sizes == (1, 1):
        return "n = 1 each, no test: may be noise"
    if 1 in sizes:
        return f"n = {sizes[0]} against n = {sizes[1]}, no test: may be noise"
    if max(max(values) - min(values) for values in (ours, theirs)) > _NO_SPREAD:
        return None
    if abs(delta) <= _NO_SPREAD:
        return "all values are equal, no test: no difference"
    return "no spread among the seeds, no test: n is too small to tell"


def _words(found: Difference, group: Group, baseline: Group, tests: int) -> str:
    assert found.p_value is not None and found.delta is not None
    # Shown to two digits, a better group must not read +0.00.
    side = "better" if found.delta > 0 else "worse"
    what = f"significantly {side}" if found.is_significant else "may be noise"
    sizes = len(best_values(group)), len(best_values(baseline))
    count = f"n = {sizes[0]}" if sizes[0] == sizes[1] else f"n = {sizes[0]} and {sizes[1]}"
    holm_words = f", Holm over {tests}" if tests > 1 else ""
    return f"{what} ({TEST}{holm_words}: {p_text(found.p_value)}, {count})"
