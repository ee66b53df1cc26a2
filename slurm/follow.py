"""Watching a local job: its messages, a bar on a terminal, and Ctrl-C for all its processes."""

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from pipeline.errors import STOPPED_EXIT_CODE
from pipeline.log import ProgressLine, info
from pipeline.tracking.run_folder import RunFolder
from pipeline.watchdog import newest_verdict
from slurm.job import Outcome

_POLL_S = 0.2
_PROGRESS_PREFIX = "train "


class Follower:
    """Shows what the main rank says until the job ends."""

    def __init__(self, job: Any, folder: RunFolder, tasks: int):
        self._job, self._folder, self._tasks = job, folder, tasks
        self._log = self._log_of(0)
        self._position = 0
        self._bar: ProgressLine | None = None
        self._interrupts = 0
        self._began_s = time.time()

    def wait(self) -> Outcome:
        """Follow to the end; returns the first rank's outcome that is no success."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        while not self._job.done():
            self._show()
            time.sleep(_POLL_S)
        self._show()
        if self._bar is not None:
            self._bar.close()
        return self._outcome()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        controller = int(self._job.job_id)
        if self._interrupts == 1:
            os.write(
                2, b"\nstopping after this step and a checkpoint; Ctrl-C again quits at once\n"
            )
            os.kill(controller, signal.SIGTERM)
            return
        for process in [
            *psutil.Process(controller).children(recursive=True),
            psutil.Process(controller),
        ]:
            process.kill()
        os._exit(STOPPED_EXIT_CODE)

    def _show(self) -> None:
        self._show_messages()
        if not sys.stderr.isatty():
            return
        try:
            shown = json.loads(self._folder.progress.read_text())
        except FileNotFoundError:
            return
        if self._bar is None and self._folder.progress.stat().st_mtime > self._job_started:
            self._bar = ProgressLine("train", shown["total"], shown["start"])
        if self._bar is not None:
            self._bar.update(shown["step"], shown["facts"])

    def _show_messages(self) -> None:
        if not self._log.is_file():
            return
        with self._log.open("rb") as file:
            file.seek(self._position)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._position += len(whole + newline)
        for line in whole.decode(errors="replace").split("\n") if newline else []:
            # The bar shows progress already.
            if not (sys.stderr.isatty() and line.startswith(_PROGRESS_PREFIX)):
                info(line)

    def _outcome(self) -> Outcome:
        outcomes = [self._outcome_of(rank) for rank in range(self._tasks)]
        failed = [outcome for outcome in outcomes if outcome.exit_code]
        if verdict := newest_verdict(self._folder.logs, self._began_s):
            # The whole of it stands in the log that was shown.
            who = ", ".join(map(str, verdict.culprits)) or "all ranks"
            reports = self._folder.logs / "stuck"
            return Outcome(1, f"{who} kept the others waiting; reports: {reports}")
        if failed and self._interrupts and all(outcome.exit_code == 1 for outcome in failed):
            return Outcome(STOPPED_EXIT_CODE, "stopped before the first step")
        return min(failed, key=lambda outcome: outcome.at_s) if failed else outcomes[0]

    def _outcome_of(self, rank: int) -> Outcome:
        import cloudpickle

        result = self._log.parent / f"{self._job.job_id}_{rank}_result.pkl"
        logs = f"its logs: {self._log_of(rank)} and .out"
        if not result.is_file():
            # It took the others down, whatever they say.
            return Outcome(
                1, f"rank {rank} died without a word (killed, or out of memory); {logs}", 0.0
            )
        state, value = cloudpickle.loads(result.read_bytes())
        if state == "success":
            return (
                value
                if value.exit_code != 1
                else replace(value, message=f"{value.message}; {logs}")
            )
        return Outcome(1, f"rank {rank} failed: {str(value).strip().splitlines()[-1]}; {logs}")

    def _log_of(self, rank: int) -> Path:
        return self._folder.logs / f"{self._job.job_id}_{rank}_log.err"

    @property
    def _job_started(self) -> float:
        return psutil.Process(int(self._job.job_id)).create_time() if not self._job.done() else 0.0
