"""Scanning many files of a source in several processes."""

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from data_prep.team import run_forked

T = TypeVar("T")
R = TypeVar("R")

_WORTH_A_PROCESS = 16


def scan(function: Callable[[T], R], items: Sequence[T], at_least: int = 1) -> list[R]:
    """``[function(item) for item in items]``, on all CPUs at hand where there are many items.

    ``at_least``: processes, also where there are fewer CPUs.
    """
    processes = max(len(os.sched_getaffinity(0)), at_least)
    found: dict[int, R] = {}

    def examine(number: int, send: Callable[[tuple[int, R]], None]) -> None:
        send((number, function(items[number])))

    run_forked(
        examine,
        len(items),
        processes if len(items) >= _WORTH_A_PROCESS else 1,
        lambda result: found.__setitem__(*result),
    )
    return [found[number] for number in range(len(items))]
