"""Config and world to numbers, without torch: counts of a run, and forecasts of its speed."""

from pipeline.plan.counts import Plan, due, make_plan, open_splits, useful_worlds

__all__ = ["Plan", "due", "make_plan", "open_splits", "useful_worlds"]
