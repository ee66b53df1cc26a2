"""Welch's test, Holm's correction, and the words for what cannot be tested."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from pipeline.compare import differences, group_runs, load_runs
from pipeline.compare.judging.significance import holm, p_text, welch

SCORES = st.lists(st.floats(0, 100), min_size=2, max_size=8)


def difference(group, baseline):
    """Of two groups alone."""
    return differences([baseline, group], 0)[1]


@given(SCORES, SCORES)
def test_welch_agrees_with_scipy(ours, theirs):
    assume(np.std(ours) > 1e-3 and np.std(theirs) > 1e-3)
    p_value, low, high = welch(ours, theirs)
    reference = stats.ttest_ind(ours, theirs, equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert p_value == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-12)
    assert (low, high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-6)


def test_welch_by_hand():
    # Equal sizes and variances 1: t = 2 / sqrt(2/3), and 4 degrees of freedom, of which the
    # distribution has a closed form and the quantile 2.7764.
    p_value, low, high = welch([1.0, 2.0, 3.0], [3.0, 4.0, 5.0])
    assert p_value == pytest.approx(0.070484, abs=1e-6)
    assert (low + high) / 2 == pytest.approx(-2.0)
    assert high - low == pytest.approx(2 * 2.7764 * np.sqrt(2 / 3), rel=1e-4)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_only_raises_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    assert all(old <= new <= 1 for old, new in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)
    assert min(corrected) == pytest.approx(min(1.0, len(p_values) * min(p_values)))


def groups_of(runs, **values):
    """A group per name, a seed per value."""
    for index, (name, scores) in enumerate(values.items()):
        for seed, score in enumerate(scores):
            optim = {"lr_base": 1e-3 * (index + 1)}
            runs.make(f"{name}-s{seed}", [score], seed=seed, optim=optim)
    folders = [runs.root / f"{n}-s{seed}" for n, v in values.items() for seed in range(len(v))]
    return group_runs(load_runs(folders))


def test_a_difference_beyond_the_noise(runs):
    base, better = groups_of(runs, base=[95.0, 95.4, 94.9], better=[98.0, 98.3, 98.4])
    found = difference(better, base)
    reference = stats.ttest_ind([98.0, 98.3, 98.4], [95.0, 95.4, 94.9], equal_var=False)
    assert found.delta == pytest.approx(98.2333 - 95.1, abs=1e-3)
    assert found.p_value == pytest.approx(reference.pvalue)
    assert found.low is not None and found.delta is not None and found.high is not None
    assert found.low < found.delta < found.high
    assert found.words == "significantly better (Welch's t-test: p = 0.0001, n = 3)"
    assert difference(base, better).words.startswith("significantly worse")


def test_a_difference_within_the_noise(runs):
    base, other = groups_of(runs, base=[95.0, 97.0], other=[96.0, 97.5, 95.0])
    found = difference(other, base)
    assert found.words.startswith("may be noise (Welch's t-test: p = 0.9")
    assert found.words.endswith("n = 3 and 2)")


@pytest.mark.parametrize(
    ("ours", "theirs", "delta", "words"),
    [
        ([97.0], [95.0], 2.0, "n = 1 each, no test: may be noise"),
        ([97.0, 98.0], [95.0], 2.5, "n = 2 against n = 1, no test: may be noise"),
        ([97.0, 97.0], [97.0, 97.0], 0.0, "all values are equal, no test: no difference"),
        (
            [97.0, 97.0],
            [95.0, 95.0],
            2.0,
            "no spread among the seeds, no test: n is too small to tell",
        ),
        ([], [95.0], None, "no val/top1 to compare"),
    ],
)
def test_what_cannot_be_tested_says_why(runs, ours, theirs, delta, words):
    base, *others = groups_of(runs, base=theirs, other=ours or [50.0])
    if not ours:
        others = group_runs(load_runs([runs.make("fresh", optim={"lr_base": 9.0})]))
    found = difference(others[0], base)
    assert (found.delta, found.p_value, found.low, found.high) == (delta, None, None, None)
    assert found.words == words


def test_no_spread_on_one_side_is_tested_without_a_warning(runs):
    base, other = groups_of(runs, base=[95.0, 95.0, 95.0], other=[97.0, 98.0, 97.4])
    found = difference(other, base)
    assert found.p_value is not None
    assert 0 < found.p_value < 0.05


def test_several_groups_are_corrected_together(runs):
    groups = groups_of(
        runs, base=[95.0, 95.4, 94.9], a=[96.0, 96.5, 96.1], b=[95.3, 95.9, 94.8], c=[97.0]
    )
    found = differences(groups, 0)
    alone = [difference(group, groups[0]) for group in groups[1:3]]
    expected = holm([one.p_value or 0.0 for one in alone])
    assert [one.p_value for one in found[1:3]] == pytest.approx(expected)
    assert found[1].words.startswith("significantly better (Welch's t-test, Holm over 2: p = ")
    assert (found[0].words, found[0].delta) == ("baseline", 0.0)
    assert found[3].words == "n = 1 against n = 3, no test: may be noise"


@pytest.mark.parametrize(
    ("p_value", "text"),
    [(0.0, "p < 0.0001"), (0.00123, "p = 0.0012"), (0.0456, "p = 0.046"), (1.0, "p = 1")],
)
def test_p_is_never_shown_as_zero(p_value, text):
    assert p_text(p_value) == text
