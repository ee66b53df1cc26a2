"""Runs side by side: reading/ finds and reads them, judging/ groups and tests them."""

from pipeline.compare.judging.comparison import Comparison, compare_runs
from pipeline.compare.judging.groups import Group, Spread, group_runs
from pipeline.compare.judging.significance import Difference, differences
from pipeline.compare.reading.load import load_run, load_runs
from pipeline.compare.run import Best, Curve, Run

__all__ = [
    "Best",
    "Comparison",
    "Curve",
    "Difference",
    "Group",
    "Run",
    "Spread",
    "compare_runs",
    "differences",
    "group_runs",
    "load_run",
    "load_runs",
]
