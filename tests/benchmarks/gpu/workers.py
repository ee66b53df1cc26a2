"""Starts worker processes and asks them; one that hangs or dies ends alone.

Each training has a process of its own: what one sets for all of PyTorch (cuDNN's choices,
deterministic algorithms), the memory it leaves in pieces, or an illegal access in a kernel
concerns no other.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.benchmarks.gpu.rungs import Rung
from tests.benchmarks.gpu.scale import Scale
from tests.benchmarks.record import ROOT

_MODULE = "tests.benchmarks.gpu.worker"


class Failed(Exception):
    """A worker answered with an error, was too slow, or ended; the text says which."""


class TooSlow(Failed):
    """A worker had not answered in the time that it was given."""


class WorkerProcess:
    """One process; it answers one command at a time.

    words: its command line. log: the file for all that it says beside its answers.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: Path):
        self._log = log
        self._lock = threading.Lock()
        self._lines: queue.Queue[str | None] = queue.Queue()
        with log.open("w") as file:
            self._process = subprocess.Popen(
                words,
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, timeout_s: float, **command: Any) -> dict[str, Any]:
        """The answer to a command.

        Raises Failed; after ``timeout_s`` it is TooSlow, and the worker is ended.
        """
        with self._lock:
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps(command) + "\n")
                self._process.stdin.flush()
                line = self._lines.get(timeout=max(timeout_s, 0.0))
            except queue.Empty:
                self.end()
                raise TooSlow(f"{command['do']} took more than {timeout_s:.0f} s") from None
            except (OSError, ValueError):  # it has ended, or was ended before
                line = None
        if line is None:
            self.end()
            code = self._process.returncode
            raise Failed(f"the process ended with code {code}: {self._last_words()}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise Failed(_without_place(found["error"]))
        return found

    def end(self) -> None:
        """End the process and what it has started."""
        if self._process.returncode is None:  # not waited for: its number is still its own
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # a command that nobody has read
            self._process.stdin.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                self._lines.put(line)
        self._lines.put(None)

    def _last_words(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line]
        return _without_place(lines[-1].strip()) if lines else "no words"


class Team:
    """The workers of a run, one for each training; in a smoke run one for all.

    folder: for logs and compile caches, which begin empty.
    """

    def __init__(self, scale: Scale, folder: Path, compiling: int):
        self._scale, self._folder = scale, folder
        self._workers: dict[str, WorkerProcess] = {}
        self._started = 0
        self._environment = _environment(scale, folder, compiling)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in list(self._workers):
            self.release(name)

    def worker(self, name: str) -> WorkerProcess:
        """The worker of a training, started if it is not there."""
        key = "all" if self._scale.is_smoke else name
        if key not in self._workers:
            log = self._folder / f"worker-{self._started}.log"
            size = "smoke" if self._scale.is_smoke else "whole"
            words = [sys.executable, "-m", _MODULE, self._scale.device, size]
            self._workers[key] = WorkerProcess(words, self._environment, log)
            self._started += 1
        return self._workers[key]

    def release(self, name: str) -> None:
        """End the worker of a training; where it is everybody's, it only lets go of it."""
        if self._scale.is_smoke and name in self._workers:
            self._workers.pop(name).end()
        elif self._scale.is_smoke:
            with contextlib.suppress(Failed):  # a worker that is gone holds nothing
                self.worker(name).ask(60, do="drop", name=name)
        elif name in self._workers:
            self._workers.pop(name).end()

    def build(self, rungs: list[Rung], timeout_s: float) -> dict[str, str]:
        """Let workers make their trainings, all at once; the errors by the rung's name."""

        def one(rung: Rung) -> str | None:
            try:
                self.worker(rung.name).ask(timeout_s, do="build", rung=rung.as_json())
            except Failed as failed:
                return str(failed)
            return None

        for rung in rungs:
            self.worker(rung.name)
        with ThreadPoolExecutor(len(rungs) or 1) as pool:
            found = dict(zip([rung.name for rung in rungs], pool.map(one, rungs), strict=True))
        return {name: text for name, text in found.items() if text is not None}


def _without_place(text: str) -> str:
    """Results are kept: where the code lies on this machine is nobody else's concern."""
    return text.replace(f"{ROOT}/", "")


def _environment(scale: Scale, folder: Path, compiling: int) -> dict[str, str]:
    """What workers see: caches that begin empty, and no accelerator but the one that is meant."""
    threads = max(1, len(os.sched_getaffinity(0)) // max(compiling, 1))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TORCHINDUCTOR_COMPILE_THREADS": str(threads),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "DS_ACCELERATOR": scale.device,
    }
    if scale.device == "cpu":
        environment["TRITON_INTERPRET"] = "1"
    return environment
