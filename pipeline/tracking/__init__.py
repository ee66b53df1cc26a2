"""Tracking: training writes a journal; a process of its own carries it to MLflow."""

from pipeline.tracking.lifecycle import EndStatus
from pipeline.tracking.opening import open_tracker
from pipeline.tracking.run_folder import (
    RunFolder,
    list_runs,
    read_run_info,
    resolve_run,
    update_run_info,
)
from pipeline.tracking.tracker import Tracker

__all__ = [
    "EndStatus",
    "RunFolder",
    "Tracker",
    "list_runs",
    "open_tracker",
    "read_run_info",
    "resolve_run",
    "update_run_info",
]
