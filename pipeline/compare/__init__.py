"""Runs side by side: runs.py reads them, table.py shows them."""

from pipeline.compare.runs import Run, load_run, load_runs

__all__ = ["Run", "load_run", "load_runs"]
