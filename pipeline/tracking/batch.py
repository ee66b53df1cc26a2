"""Journal records as what is sent to a store: pure, so that a replay sends the same."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.tracking.journal import Record, metric_values
from pipeline.tracking.lifecycle import EndStatus, read_end_status


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


RUNNING = RunState("RUNNING", "running")

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
    return RunState("FAILED", "lost", t_ms)


@dataclass
class Batch:
    """What a stretch of the journal says, with only the last of each tag and state."""

    points: list[Point] = field(default_factory=list[Point])
    params: dict[str, str] = field(default_factory=dict[str, str])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    datasets: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    state: RunState | None = None


def gather(records: list[Record]) -> Batch:
    """Everything that ``records`` ask to be sent, in their order."""
    batch = Batch()
    for record in records:
        match record["kind"]:
            case "metrics" | "system":
                t_ms, step = int(record["t_ms"]), int(record["step"])
                batch.points += [Point(k, v, t_ms, step) for k, v in metric_values(record).items()]
            case "params":
                batch.params |= record["params"]
            case "tags":
                batch.tags |= record["tags"]
            case "dataset":
                batch.datasets.append(record["dataset"])
            case "start":
                batch.state = RUNNING
            case "end":
                batch.state = end_state(read_end_status(record), int(record["t_ms"]))
                summary = record.get("summary", {})
                batch.tags |= {f"summary.{key}": str(value) for key, value in summary.items()}
            case _:
                pass  # written by a later version: nothing to send
    return batch
