"""Curves on one axis: the same range for all, gaps where there is no number."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.compare import group_runs, load_runs
from pipeline.compare.text.alignment import BARS, align, sparklines


def groups_of(runs):
    return group_runs(load_runs(sorted(runs.root.iterdir())))


def test_a_shorter_run_ends_where_it_ended(runs):
    runs.make("long", [10.0, 20.0, 30.0, 40.0], optim={"lr_base": 1.0})
    runs.make("short", [10.0, 20.0])
    aligned = align(groups_of(runs), "val/top1", "step", 4)
    assert aligned.xs.tolist() == [5, 15, 25, 35]
    assert aligned.rows[0].tolist() == [10, 20, 30, 40]
    assert aligned.rows[1].tolist()[:2] == [10, 20]
    assert np.isnan(aligned.rows[1][2:]).all()


def test_a_group_is_the_mean_of_its_seeds(runs):
    runs.make("a", [10.0, 20.0], seed=1)
    runs.make("b", [30.0, 40.0, 60.0], seed=2)
    (row,) = align(groups_of(runs), "val/top1", "epoch", 3).rows
    assert row.tolist() == [20, 30, 60]


def test_evaluations_that_are_rare_are_joined_and_nan_is_a_gap(runs):
    runs.make("a", [10.0, 20.0, 30.0, math.nan, 50.0, math.inf, 70.0])
    (row,) = align(groups_of(runs), "val/top1", "step", 7).rows
    assert row[[0, 1, 2, 4, 6]].tolist() == [10, 20, 30, 50, 70]
    assert np.isnan(row[[3, 5]]).all()
    (fine,) = align(groups_of(runs), "val/top1", "step", 14).rows
    assert fine[3:5].tolist() == pytest.approx([20, 22.5])


@pytest.mark.parametrize(
    ("axis", "end"),
    [("step", 20), ("epoch", 2), ("images", 1280), ("time", 2 / 60), ("gpu_hours", 8 / 60)],
)
def test_every_axis(runs, axis, end):
    runs.make("a", [10.0, 20.0], world=4)
    aligned = align(groups_of(runs), "val/top1", axis, 2)
    assert aligned.xs.tolist() == pytest.approx([end / 4, end * 3 / 4])
    assert aligned.rows[0].tolist() == [10, 20]


def test_a_metric_that_no_run_has_is_all_gaps(runs):
    runs.make("a", [10.0])
    (row,) = align(groups_of(runs), "val/none", "step", 3).rows
    assert np.isnan(row).all()


def test_sparklines_share_a_scale_and_show_gaps():
    rows = [np.array([0.0, np.nan, 7.0]), np.array([3.5, 3.5, np.nan]), np.full(3, np.nan)]
    assert sparklines(rows) == ["▁ █", "▅▅", ""]
    assert sparklines([np.full(3, 2.0)]) == ["▅▅▅"]
    assert sparklines([]) == []


@given(arrays(np.float64, 12, elements=st.floats(-1e6, 1e6)))
def test_a_higher_value_never_has_a_lower_bar(row):
    (line,) = sparklines([row])
    heights = [BARS.index(bar) for bar in line]
    assert np.all(np.diff(np.array(heights)[np.argsort(row, kind="stable")]) >= 0)
