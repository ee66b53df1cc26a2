"""Starts the plain training and groups of ranks, each a process with one thread."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.parity.cases import ROOT, Task

PACKAGE = "tests.benchmarks.parity"
_TIMEOUT_S = 900


def run_reference(
    work: Path, shards: Path, steps: int, states: Sequence[int], nudges: int, rows: Iterable[str]
) -> None:
    """Train each row plainly, once as it is and once for each nudge."""
    numbers = ",".join(map(str, states))
    _finish([_start(["reference", work, shards, steps, numbers, nudges, *rows], 0, 1, 0)])


def run_tasks(work: Path, shards: Path, world: int, tasks: Iterable[Task]) -> None:
    """Do the tasks in one group of ``world`` ranks. Raises RuntimeError where a rank fails."""
    words = ["rank", work, shards, json.dumps([asdict(task) for task in tasks])]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _finish([_start(words, rank, world, port) for rank in range(world)])


def _start(words: Sequence[object], rank: int, world: int, port: int) -> "subprocess.Popen[str]":
    here = {"PYTHONPATH": ROOT, "OMP_NUM_THREADS": 1, "DS_ACCELERATOR": "cpu"}
    place = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": world,
    }
    module, *rest = words
    return subprocess.Popen(
        [sys.executable, "-m", f"{PACKAGE}.{module}", *map(str, rest)],
        cwd=ROOT,
        env=os.environ | {name: str(value) for name, value in (here | place).items()},
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _finish(processes: Sequence["subprocess.Popen[str]"]) -> None:
    errors = [process.communicate(timeout=_TIMEOUT_S)[1] for process in processes]
    for process, error in zip(processes, errors, strict=True):
        if process.returncode:
            raise RuntimeError(f"a rank ended with {process.returncode}:\n{error[-4000:]}")
