"""Ranks that are there at once: forked from a process that has imported everything already."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """One rank, after its end."""

    code: int
    """Exit code; minus the signal's number where it was killed."""
    stdout: str
    stderr: str


class Nursery:
    """Forks the ranks of one job after the other, which saves each of them its imports.

    A rank is what ``python -m MODULE ARGS`` would be, with the launch variables set before;
    the ranks of a job are one process group.
    """

    def __init__(self) -> None:
        self._logs = tempfile.TemporaryDirectory()
        self._jobs = 0
        environment = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "NO_COLOR": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.dist.nursery_process"],
            cwd=ROOT,
            env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()
        self._logs.cleanup()

    def run(
        self,
        world: int,
        module: str,
        *args: object,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 120,
        grace_s: float = 10,
    ) -> list[Ended]:
        """Run a job to its end.

        Ranks that outlive the first killed one by grace_s, or the job's start by timeout_s, are
        killed too.
        """
        self._jobs += 1
        logs = Path(self._logs.name) / str(self._jobs)
        logs.mkdir()
        request: dict[str, Any] = {
            "world": world,
            "module": module,
            "args": [str(arg) for arg in args],
            "env": dict(env or {}),
            "logs": str(logs),
            "timeout_s": timeout_s,
            "grace_s": grace_s,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the nursery has ended"
        return [
            Ended(code, *((logs / f"{rank}.{name}").read_text() for name in ("out", "err")))
            for rank, code in enumerate(json.loads(answer))
        ]

    def results(self, world: int, module: str, *args: object, **options: Any) -> list[str]:
        """What every rank of a job prints; none may fail."""
        ended = self.run(world, module, *args, **options)
        for rank in ended:
            assert rank.code == 0, rank.stderr[-3000:]
        return [rank.stdout for rank in ended]
