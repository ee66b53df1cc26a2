"""The journal of a run: JSON lines that are only ever appended, and the truth about the run.

First write wins: a run that restarts from an older checkpoint computes the same steps again,
so a metric at or before the last step that it has been written for is dropped.
"""

import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.log import warn
from pipeline.tracking.launches import RESUMED, read_launches
from pipeline.tracking.locks import lock
from pipeline.tracking.whole import is_whole

Record = dict[str, Any]

EPOCH = "progress/epoch"
_OF_AN_EVALUATION = "val/"
_LOCK_WAIT_S = 15.0
_TAIL_BLOCK_BYTES = 1 << 16


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Chunk:
    """Records read from a journal.

    ``end`` is the byte offset behind the last whole line; ``unreadable`` counts damaged lines.
    """

    records: list[Record]
    end: int
    unreadable: int = 0


def read_journal(path: Path, start: int = 0, max_bytes: int | None = None) -> Chunk:
    """The records from byte ``start`` on; a last line without its end is left for later.

    With ``max_bytes``, about as much, but at least one record where there is one.
    """
    records: list[Record] = []
    end, unreadable = start, 0
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if is_whole(record):
                records.append(record)
            else:
                unreadable += 1
            if records and max_bytes is not None and end - start >= max_bytes:
                break
    return Chunk(records, end, unreadable)


def metric_values(record: Record) -> dict[str, float]:
    """The metrics of a ``metrics`` or ``system`` record, NaN and infinity included."""
    return {key: float(value) for key, value in record.get("metrics", {}).items()}


class Journal:
    """The writing end; one process at a time holds it. Safe to use from several threads.

    ``clock_ms`` gives milliseconds since the epoch. Raises UserError where another process
    writes this journal.
    """

    def __init__(self, path: Path, clock_ms: Callable[[], int] = now_ms):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clock_ms = clock_ms
        self._mutex = threading.Lock()
        self._path, self._file = path, path.open("ab", buffering=0)
        self._unwritten = b""
        self._is_behind = False
        try:
            # Patient: on a requeue the process before may still be on its way out.
            if not lock(self._file.fileno(), _LOCK_WAIT_S):
                raise UserError(
                    f"run {path.parent.name}: {_holder(path)} trains in {path.parent}; wait for "
                    "it, end it, or give this run another name (name=...)"
                )
            _drop_half_line(path)
            written = read_journal(path)
        except BaseException:
            self._file.close()
            raise
        self.unreadable = written.unreadable
        """Damaged lines found on opening; they are skipped by every reader."""
        self.past = read_launches(written.records)
        """The launches before."""
        self.params: dict[str, str] = {}
        """The settings as first written."""
        self._last_step: dict[str, int] = {}
        self._tags: dict[str, str] = {}
        self._datasets: list[Record] = []
        self._evaluations: dict[int, dict[str, Any]] = {}
        self._models: set[int] = set()
        for record in written.records:
            self._learn(record)

    @property
    def last_step(self) -> int:
        """The latest step that any metric was written for; 0 before the first."""
        return max(self._last_step.values(), default=0)

    def start(self, facts: Mapping[str, Any]) -> Record:
        """A process begins, or goes on, to train; returns the record."""
        return self._append({"kind": "start", "step": self.last_step, **facts})

    def resumed(self, step: int) -> None:
        """Training goes on after ``step``; a tag that each launch writes."""
        tags = {RESUMED: str(step)}
        self._append({"kind": "tags", "step": self.last_step, "tags": tags})

    def metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Values at an optimizer step; keys already written for this step or a later one drop."""
        with self._mutex:
            fresh = {key: v for key, v in metrics.items() if step > self._last_step.get(key, -1)}
            if fresh:
                values = {key: _number(value) for key, value in fresh.items()}
                self._append_locked({"kind": "metrics", "step": step, "metrics": values})

    def system(self, metrics: Mapping[str, float], step: int) -> None:
        """A sample of the machine: belongs to a moment, so a step may have several."""
        values = {key: _number(value) for key, value in metrics.items()}
        self._append({"kind": "system", "step": step, "metrics": values})

    def tags(self, tags: Mapping[str, str]) -> None:
        """Texts about the run; the last one of a key counts, unchanged ones are not repeated."""
        with self._mutex:
            fresh = {key: value for key, value in tags.items() if self._tags.get(key) != value}
            if fresh:
                self._append_locked({"kind": "tags", "step": self.last_step, "tags": fresh})

    def settings(self, params: Mapping[str, str]) -> None:
        """The config. One that changed since the first start is noted as tag ``latest.<key>``."""
        fresh = {key: value for key, value in params.items() if key not in self.params}
        changed = {
            f"latest.{key}": value
            for key, value in params.items()
            if key in self.params and value != self._tags.get(f"latest.{key}", self.params[key])
        }
        if fresh:
            self._append({"kind": "params", "step": self.last_step, "params": fresh})
        self.tags(changed)

    def dataset(self, name: str, split: str, digest: str, samples: int) -> None:
        """What is read; the same one is written once."""
        dataset = {"name": name, "split": split, "digest": digest, "samples": samples}
        if dataset not in self._datasets:
            self._append({"kind": "dataset", "step": self.last_step, "dataset": dataset})

    def model(self, step: int, folder: str, dataset: str) -> None:
        """A best checkpoint is committed; written once, with what was journaled at its step.

        folder: in the run's. dataset: what the metrics are of.
        """
        with self._mutex:
            if step in self._models:
                return
            values = self._evaluations.get(step, {})
            model = {
                "folder": folder,
                "epoch": values.get(EPOCH),
                "metrics": {key: value for key, value in values.items() if key != EPOCH},
                "dataset": dataset,
            }
            self._append_locked({"kind": "model", "step": step, "model": model})

    def end(self, status: str, summary: Mapping[str, Any]) -> None:
        """The process stops; on disk when this returns, if the disk takes it."""
        record = {"kind": "end", "step": self.last_step, "status": status}
        record["summary"] = {
            key: _number(value) if isinstance(value, float) else value
            for key, value in summary.items()
        }
        self._append(record)
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file; nothing can be written afterwards."""
        with self._mutex:
            if self._unwritten:
                warn(f"{self._path}: its last {len(self._unwritten)} bytes could not be written")
            self._file.close()

    def _append(self, record: Record) -> Record:
        with self._mutex:
            return self._append_locked(record)

    def _append_locked(self, record: Record) -> Record:
        record = {"kind": record["kind"], "t_ms": self._clock_ms(), **record}
        line = json.dumps(record, separators=(",", ":"), allow_nan=False)
        self._unwritten += line.encode() + b"\n"
        self._write()
        self._learn(record)
        return record

    def _write(self) -> None:
        """What a full disk does not take waits in memory for the next record."""
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[self._file.write(self._unwritten) :]
            self._is_behind = False
        except OSError as error:
            if not self._is_behind:
                warn(
                    f"{self._path} cannot be written ({error.strerror}); its records wait in "
                    "memory and training goes on: make room"
                )
            self._is_behind = True

    def _learn(self, record: Record) -> None:
        if record["kind"] == "metrics":
            for key in record["metrics"]:
                self._last_step[key] = max(record["step"], self._last_step.get(key, 0))
            if any(key.startswith(_OF_AN_EVALUATION) for key in record["metrics"]):
                self._evaluations.setdefault(record["step"], {}).update(
                    (key, value)
                    for key, value in record["metrics"].items()
                    if key.startswith((_OF_AN_EVALUATION, EPOCH))
                )
        elif record["kind"] == "model":
            self._models.add(record["step"])
        elif record["kind"] == "params":
            self.params = record["params"] | self.params
        elif record["kind"] == "tags":
            self._tags |= record["tags"]
        elif record["kind"] == "dataset":
            self._datasets.append(record["dataset"])


def _holder(path: Path) -> str:
    """Who works on a locked journal, by its last start."""
    starts = [record for record in read_journal(path).records if record["kind"] == "start"]
    if not starts:
        return "another process"
    process, job = starts[-1].get("process") or {}, starts[-1].get("job_id")
    what = "another process" if job is None else f"job {job}"
    return f"{what} (pid {process.get('pid')} on {process.get('host')})"


def _number(value: float) -> float | str:
    """JSON has no NaN and no infinity; ``float()`` reads these texts back."""
    value = float(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _drop_half_line(path: Path) -> None:
    """Cut off what a kill in the middle of a write has left behind the last line's end."""
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _TAIL_BLOCK_BYTES)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)
