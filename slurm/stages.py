"""What runs in the jobs around a training: sharding before it, evaluation after it. Picklable."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pipeline.log import info
from pipeline.preempt import StopRequest
from pipeline.tracking.run_folder import RunFolder
from slurm.job import Outcome, is_queued_again, leave

_POLL_S = 0.2
_GRACE_S = 1.0
"""A signal for the whole job may reach the command a moment before this process."""
_ERROR = "error: "


@dataclass(frozen=True)
class StageJob:
    """Runs a command of the project in this task; started anew, the command goes on or repeats.

    On Slurm it leaves its ending in the run folder for ``slurm.aftermath``, as a training does.
    """

    cluster: Literal["local", "slurm"]
    run_folder: Path
    module: str
    """As for ``python -m``."""
    arguments: tuple[str, ...]
    result: Path | None = None
    """Where its stdout goes, when it has ended well."""

    def __call__(self) -> Outcome:
        folder, is_slurm = RunFolder(self.run_folder), self.cluster == "slurm"
        stop = StopRequest(lambda: is_slurm and is_queued_again(folder)).install()
        with self._stdout() as stdout:
            outcome = self._run(stdout, stop)
            if outcome.exit_code == 0 and self.result is not None:
                os.replace(_half_written(self.result), self.result)
                info(f"wrote {self.result}")
        if is_slurm and outcome.exit_code:
            leave(folder, 0, outcome)
            sys.exit(outcome.exit_code)
        return outcome

    def _run(self, stdout: IO[bytes] | None, stop: StopRequest) -> Outcome:
        # -P: the code of the snapshot, not that of the working folder.
        words = [sys.executable, "-P", "-u", "-m", self.module, *self.arguments]
        # Slurm signals all processes of a job; the command is to be told by this one, in a way
        # that it understands. It inherits what is blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        command = subprocess.Popen(words, stdout=stdout, stderr=subprocess.PIPE, errors="replace")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        assert command.stderr is not None
        lines: list[str] = []
        reader = threading.Thread(target=_pass_on, args=(command.stderr, lines))
        reader.start()
        is_told = False
        while command.poll() is None:
            if stop.requested and not is_told:
                command.terminate()
                is_told = True
            time.sleep(_POLL_S)
        reader.join()
        if command.returncode == -signal.SIGTERM:
            time.sleep(_GRACE_S)
        if command.returncode and stop.requested:
            return Outcome(stop.exit_code, "stopped; what is whole is kept")
        return Outcome(*_ending_of(command.returncode, lines))

    @contextlib.contextmanager
    def _stdout(self) -> Iterator[IO[bytes] | None]:
        if self.result is None:
            yield None
            return
        with _half_written(self.result).open("wb") as file:
            yield file


def _pass_on(stream: IO[str], lines: list[str]) -> None:
    """What the command says belongs into the job's log, and its last words into the ending."""
    for line in stream:
        sys.stderr.write(line)
        sys.stderr.flush()
        lines.append(line)
        del lines[:-100]


def _ending_of(code: int, lines: list[str]) -> tuple[int, str]:
    """Exit code and message of a command; code: negative for a signal, as subprocess has it."""
    if code == 0:
        return 0, ""
    begins = [number for number, line in enumerate(lines) if line.startswith(_ERROR)]
    said = lines[begins[-1] :] if begins else lines[-1:]
    message = "".join(said).removeprefix(_ERROR).strip()
    if code < 0:
        return 1, f"killed by {signal.Signals(-code).name}" + (f": {message}" if message else "")
    return code, message or f"ended with {code} and no word"


def _half_written(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")
