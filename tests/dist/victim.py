"""``python -m pipeline.train``, which ends by SIGKILL at a moment that $KILL names.

$KILL is ``Kill`` as JSON, $KILL_LOG the file that says what the process was at; $DURATIONS, where
it is set, names a file for the seconds of every phase of a run that nobody kills.
"""

import functools
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipeline.train.loop as loop
from pipeline.checkpoint import Checkpoints
from pipeline.engine import Engine
from pipeline.errors import run_cli
from pipeline.train.__main__ import main

PHASES = {
    "step": (Engine, "train_step"),
    "evaluation": (loop, "evaluate"),
    "saving": (Checkpoints, "save"),
}


class Watch:
    """Knows what the training is at, and ends it."""

    def __init__(self, kill: dict[str, Any] | None):
        self._kill = kill
        self._entries = dict.fromkeys(PHASES, 0)
        self._now = "between"
        self.durations: dict[str, list[float]] = {phase: [] for phase in PHASES}

    def watched(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **options: Any) -> Any:
            self._entries[phase] += 1
            kill = self._kill
            if kill and (phase, self._entries[phase]) == (kill["phase"], kill["occurrence"]):
                threading.Thread(target=self._end, args=[kill], daemon=True).start()
            self._now, began = phase, time.perf_counter()
            result = function(*args, **options)
            self.durations[phase].append(time.perf_counter() - began)
            self._now = "between"
            return result

        return run

    def _end(self, kill: dict[str, Any]) -> None:
        time.sleep(kill["after_s"])
        log = os.open(os.environ["KILL_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(log, f"{self._now} {self._entries['step']}\n".encode())
        if kill["whole_job"]:
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def watch_training() -> None:
    kill = json.loads(os.environ["KILL"]) if "KILL" in os.environ else None
    rank = int(os.environ["RANK"])
    watch = Watch(kill if kill and kill["rank"] == rank else None)
    for phase, (owner, name) in PHASES.items():
        setattr(owner, name, watch.watched(phase, getattr(owner, name)))
    try:
        run_cli(main)
    finally:
        if "DURATIONS" in os.environ and rank == 0:
            Path(os.environ["DURATIONS"]).write_text(json.dumps(watch.durations))


watch_training()
