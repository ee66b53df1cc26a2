"""A journal of any length to arrays: what a run did over all its launches, in seconds at work."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.run import GPU_HOURS, Curve
from pipeline.tracking.journal import Record
from pipeline.tracking.lifecycle import Lifecycle
from pipeline.tracking.whole import is_whole

_CHUNK_BYTES = 1 << 23
_MS_PER_HOUR = 3_600_000.0
# Columns of a row before its metrics: step, milliseconds since the epoch, launch.
_FIXED = 3

_Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class History:
    """What a journal says. ``worlds``: ranks of each launch, where it is known."""

    params: dict[str, str]
    tags: dict[str, str]
    digests: dict[str, str]
    worlds: tuple[int, ...]
    lifecycle: Lifecycle
    curves: dict[str, Curve]
    seconds: Curve
    wall_s: float | None
    gpu_hours: float | None
    damaged_lines: int
    is_torn: bool
    """The last line has no end: a kill in the middle of a write, or a write that goes on."""


def read_history(path: Path) -> History:
    """Read a journal; damaged lines are counted, kinds of later versions skipped.

    Raises OSError where the file cannot be read.
    """
    reader = _Reader()
    is_torn = False
    with path.open("rb") as file:
        while lines := file.readlines(_CHUNK_BYTES):
            if not lines[-1].endswith(b"\n"):
                is_torn = True
                del lines[-1]
            for record in _parse(lines, reader):
                reader.see(record)
    return reader.history(is_torn)


def no_history() -> History:
    """That of a run that has not been started."""
    return _Reader().history(is_torn=False)


def _parse(lines: list[bytes], reader: "_Reader") -> Iterator[Record]:
    """One call for all lines takes two thirds of the time of one call per line."""
    try:
        records = json.loads(b"[" + b",".join(lines) + b"]")
        # A broken line may join its neighbour to something readable.
        is_whole = len(records) == len(lines)
    except ValueError:
        records, is_whole = [], False
    if not is_whole:
        records = [_parse_line(line) for line in lines]
    for record in records:
        if isinstance(record, dict) and "kind" in record:
            yield record
        else:
            reader.damaged_lines += 1


def _parse_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


@dataclass
class _Reader:
    damaged_lines: int = 0
    params: dict[str, str] = field(default_factory=dict[str, str])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    digests: dict[str, str] = field(default_factory=dict[str, str])
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    rows: dict[tuple[str, ...], _Rows] = field(default_factory=dict[tuple[str, ...], _Rows])
    """By the names of the metrics: records with the same names become one array."""
    worlds: list[float] = field(default_factory=list[float])
    """Ranks of each launch; NaN where they are unknown."""
    began_ms: list[int] = field(default_factory=list[int])
    ended_ms: list[int] = field(default_factory=list[int])
    """Of each launch that another one followed: its last record."""
    last_ms: int = 0

    def see(self, record: Record) -> None:
        try:
            t_ms = int(record["t_ms"])
            match record["kind"]:
                case "metrics":
                    metrics = record["metrics"]
                    row = (record["step"], t_ms, len(self.worlds) - 1, *metrics.values())
                    self.rows.setdefault(tuple(metrics), []).append(row)
                case "start" | "end" if not is_whole(record):
                    raise ValueError("damaged")
                case "start":
                    self._start(record, t_ms)
                case "end":
                    self.lifecycle.see([record])
                case "params":
                    self.lifecycle.see([record])
                    self.params = {**record["params"], **self.params}
                case "tags":
                    self.lifecycle.see([record])
                    self._tags(record["tags"])
                case "dataset":
                    dataset = record["dataset"]
                    self.digests[f"{dataset['name']}-{dataset['split']}"] = dataset["digest"]
                case _:
                    pass
            self.last_ms = t_ms
            self.lifecycle.last_ms = max(t_ms, self.lifecycle.last_ms)
        except (AttributeError, KeyError, TypeError, ValueError):
            # JSON, but not what this kind of record holds.
            self.damaged_lines += 1

    def _start(self, record: Record, t_ms: int) -> None:
        # Journals of before say it in the tags that follow, and only where it changed.
        known = record.get("world_size") or self.tags.get("world_size")
        world = float(known) if known else np.nan
        if self.began_ms:
            self.ended_ms.append(self.last_ms)
        self.began_ms.append(t_ms)
        self.worlds.append(world)
        self.lifecycle.see([record])

    def _tags(self, tags: Mapping[str, str]) -> None:
        self.tags.update(tags)
        if self.worlds and str(tags.get("world_size", "")).isdigit():
            self.worlds[-1] = float(tags["world_size"])

    def history(self, is_torn: bool) -> History:
        curves, fixed = self._curves()
        seconds, gpu_hours, wall_s, total_gpu_hours = self._clock(fixed)
        if GPU_HOURS in curves:
            total_gpu_hours = curves[GPU_HOURS].last
        elif total_gpu_hours is not None and len(gpu_hours):
            curves[GPU_HOURS] = gpu_hours
        return History(
            params=self.params,
            tags=self.tags,
            digests=self.digests,
            worlds=tuple(int(world) for world in self.worlds if np.isfinite(world)),
            lifecycle=self.lifecycle,
            curves=curves,
            seconds=seconds,
            wall_s=wall_s,
            gpu_hours=total_gpu_hours,
            damaged_lines=self.damaged_lines,
            is_torn=is_torn,
        )

    def _clock(self, fixed: NDArray[np.float64]) -> tuple[Curve, Curve, float | None, float | None]:
        """Seconds and GPU-hours at work: of each step, and in all; None where it is unknown.

        fixed: (N, 3), the rows without their metrics.
        """
        began = np.array(self.began_ms, dtype=np.float64)
        ended = np.array([*self.ended_ms, self.last_ms][: len(began)], dtype=np.float64)
        worlds = np.array(self.worlds, dtype=np.float64)
        worked = np.concatenate([[0.0], np.cumsum(ended - began)])
        gpu = np.concatenate([[0.0], np.cumsum((ended - began) * worlds)])
        steps, order = _order([fixed[:, 0]])
        launch = fixed[order, 2].astype(np.int64)
        # A record before any start has no clock.
        steps, order, launch = steps[launch >= 0], order[launch >= 0], launch[launch >= 0]
        ms = fixed[order, 1] - began[launch]
        seconds = Curve(steps, (worked[launch] + ms) / 1000)
        gpu_hours = Curve(steps, (gpu[launch] + ms * worlds[launch]) / _MS_PER_HOUR)
        if not len(began):
            return seconds, gpu_hours, None, None
        total = float(gpu[-1]) / _MS_PER_HOUR
        return seconds, gpu_hours, float(worked[-1]) / 1000, total if np.isfinite(total) else None

    def _curves(self) -> tuple[dict[str, Curve], NDArray[np.float64]]:
        """The metrics by step, and all rows without them, (N, 3)."""
        tables = {keys: self._table(rows) for keys, rows in self.rows.items()}
        shapes: dict[str, list[tuple[str, ...]]] = {}
        for keys in tables:
            for key in keys:
                shapes.setdefault(key, []).append(keys)
        orders: dict[tuple[tuple[str, ...], ...], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        curves: dict[str, Curve] = {}
        for key, found in shapes.items():
            columns = [tables[keys][:, _FIXED + keys.index(key)] for keys in found]
            # Metrics that are written together share their steps, in memory and between processes.
            order = orders.get(tuple(found))
            if order is None:
                order = orders[tuple(found)] = _order([tables[keys][:, 0] for keys in found])
            curve = Curve(order[0], np.concatenate(columns)[order[1]])
            if len(curve):
                curves[key] = curve
        fixed = [table[:, :_FIXED] for table in tables.values()]
        return curves, np.concatenate([np.empty((0, _FIXED)), *fixed])

    def _table(self, rows: _Rows) -> NDArray[np.float64]:
        """(N, 3 + metrics); numpy reads the texts NaN and Infinity as what they say."""
        try:
            return np.array(rows, dtype=np.float64)
        except (TypeError, ValueError):
            good = [row for row in rows if _is_numbers(row)]
            self.damaged_lines += len(rows) - len(good)
            width = len(rows[0])
            return np.array(good, dtype=np.float64).reshape(len(good), width)


def _is_numbers(row: tuple[Any, ...]) -> bool:
    try:
        np.array(row, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return True


def _order(steps: list[NDArray[np.float64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted steps, and where they stood; of several at one step the first counts."""
    joined = np.concatenate(steps).astype(np.int64)
    unique, first = np.unique(joined, return_index=True)
    return unique, first
