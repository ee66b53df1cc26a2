"""Journal records as what is sent to a store: pure, so that a replay sends the same."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.tracking.journal import Record, metric_values
from pipeline.tracking.lifecycle import EndStatus, read_end_status

DIGEST_LENGTH = 36
"""Characters of a dataset's digest that MLflow takes."""


class Point(NamedTuple):
    """One value of a metric; ``t_ms`` is the journal's, in milliseconds since the epoch."""

    key: str
    value: float
    t_ms: int
    step: int


@dataclass(frozen=True)
class RunState:
    """The status of a run in MLflow and the tag ``state`` beside it.

    ``ended_ms`` is when it ended, in milliseconds since the epoch; None while it runs.
    """

    status: str
    tag: str
    ended_ms: int | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was the best so far when it was committed.

    ``folder`` counts from the run's; ``metrics`` are those of its evaluation on ``dataset``.
    """

    step: int
    folder: str
    epoch: float | None
    metrics: Mapping[str, float]
    dataset: str | None
    t_ms: int


RUNNING = RunState("RUNNING", "running")
LOST_TAG = "lost"

_ENDS: dict[EndStatus, tuple[str, str]] = {
    "FINISHED": ("FINISHED", "finished"),
    "FAILED": ("FAILED", "failed"),
    "KILLED": ("KILLED", "killed"),
    # It goes on in the same MLflow run once the scheduler starts it again.
    "REQUEUED": ("RUNNING", "requeued"),
}


def end_state(status: EndStatus, t_ms: int) -> RunState:
    """The MLflow state of a run that ended so."""
    mlflow_status, tag = _ENDS[status]
    return RunState(mlflow_status, tag, None if mlflow_status == "RUNNING" else t_ms)


def lost_state(t_ms: int) -> RunState:
    """The state of a run whose process is gone without an ``end``; ``t_ms`` is its last record."""
    return RunState("FAILED", LOST_TAG, t_ms)


@dataclass
class Batch:
    """What a stretch of the journal says, with only the last of each tag and state."""

    points: list[Point] = field(default_factory=list[Point])
    params: dict[str, str] = field(default_factory=dict[str, str])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    datasets: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    checkpoints: list[Checkpoint] = field(default_factory=list[Checkpoint])
    state: RunState | None = None
    last_ms: int = 0
    """When the last record was written."""
    unknown: set[str] = field(default_factory=set[str])
    """Kinds of record that this version knows nothing of, and skips."""


def gather(records: Sequence[Record]) -> Batch:
    """Everything that ``records``, which are whole, ask to be sent, in their order."""
    batch = Batch()
    for record in records:
        _add(batch, record)
    return batch


def _add(batch: Batch, record: Record) -> None:
    t_ms = int(record["t_ms"])
    match record["kind"]:
        case "metrics" | "system":
            step = int(record["step"])
            batch.points += [Point(k, v, t_ms, step) for k, v in metric_values(record).items()]
        case "params":
            batch.params |= _texts(record["params"])
        case "tags":
            batch.tags |= _texts(record["tags"])
        case "dataset":
            dataset = record["dataset"]
            texts = _texts({key: dataset[key] for key in ("name", "split", "digest")})
            batch.datasets.append({**texts, "samples": dataset["samples"]})
        case "model":
            batch.checkpoints.append(_checkpoint(record, t_ms))
        case "start":
            batch.state = RUNNING
        case "end":
            summary = _texts(record.get("summary", {}))
            batch.state = end_state(read_end_status(record), t_ms)
            batch.tags |= {f"summary.{key}": text for key, text in summary.items()}
        case kind:
            batch.unknown.add(str(kind))
    batch.last_ms = max(batch.last_ms, t_ms)


_UNSENDABLE = re.compile(r"[\0\ud800-\udfff]")


def sendable(text: str) -> str:
    """``text`` with a replacement character for each that no request or database takes.

    They are NUL, and the surrogates that stand for what is not UTF-8 on a command line.
    """
    return _UNSENDABLE.sub("\ufffd", text)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): sendable(str(value)) for key, value in values.items()}


def _checkpoint(record: Record, t_ms: int) -> Checkpoint:
    model = record["model"]
    epoch, dataset = model.get("epoch"), model.get("dataset")
    return Checkpoint(
        step=int(record["step"]),
        folder=str(model["folder"]),
        epoch=None if epoch is None else float(epoch),
        metrics={str(key): float(value) for key, value in model["metrics"].items()},
        dataset=None if dataset is None else sendable(str(dataset)),
        t_ms=t_ms,
    )
