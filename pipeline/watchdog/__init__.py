"""Ranks that keep the others waiting: watched from outside, named, and ended in bounded time.

Imports the standard library alone: a watching process beside each rank must be small.
"""

from pipeline.watchdog.board import newest_verdict as newest_verdict
from pipeline.watchdog.board import read_verdict as read_verdict
from pipeline.watchdog.board import stuck_folder as stuck_folder
from pipeline.watchdog.verdict import Culprit as Culprit
from pipeline.watchdog.verdict import Verdict as Verdict
