"""Scanning many files of a source in several processes."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_WORTH_A_PROCESS = 16


def scan(function: Callable[[T], R], items: Sequence[T], at_least: int = 1) -> list[R]:
    """``[function(item) for item in items]``, on all CPUs at hand where there are many items.

    ``at_least``: processes, also where there are fewer CPUs.
    """
    if len(items) < _WORTH_A_PROCESS:
        return [function(item) for item in items]
    processes = max(len(os.sched_getaffinity(0)), at_least)
    # Nothing runs beside the listing, so a fork, which starts at once, is safe here.
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        return list(pool.map(function, items, chunksize=-(-len(items) // (8 * processes))))
