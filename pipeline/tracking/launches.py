"""The launches of a run by its journal: on which ranks, under which jobs, for how long. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

RESUMED = "resumed_from_step"
"""The tag of the step after which a launch goes on, which each launch writes."""
_MS_PER_HOUR = 3_600_000


@dataclass(frozen=True)
class Launch:
    """What one start of a run came to; moments are milliseconds since the epoch."""

    step: int | None
    """The one after which it went on; None where it has not come to train."""
    began_ms: int
    ended_ms: int
    """Of its last record."""
    world_size: int
    nodes: tuple[str, ...]
    job_id: str | None
    attempt: int
    """How often the scheduler had restarted the job."""


def read_launches(records: Iterable[Mapping[str, Any]]) -> list[Launch]:
    """All launches, in the journal's order."""
    parts: list[list[Mapping[str, Any]]] = []
    for record in records:
        if record["kind"] == "start":
            parts.append([])
        if parts:
            parts[-1].append(record)
    launches: list[Launch] = []
    for part in parts:
        launches.append(_launch(part, launches[-1].world_size if launches else 1))
    return launches


def gpu_hours(launches: Iterable[Launch]) -> float:
    """Hours at work times ranks: steps that were done twice count twice, queues do not."""
    return sum((one.ended_ms - one.began_ms) * one.world_size for one in launches) / _MS_PER_HOUR


def launch_tags(launches: Sequence[Launch]) -> dict[str, str]:
    """What all launches together, the present one last, say of the run."""
    jobs = list(dict.fromkeys(one.job_id for one in launches if one.job_id is not None))
    tags = {
        "launches": str(len(launches)),
        "node_list": ", ".join(dict.fromkeys(node for one in launches for node in one.nodes)),
        # Slurm counts the restarts of each job.
        "requeues": str(sum(max(a.attempt for a in launches if a.job_id == job) for job in jobs)),
    }
    return tags | ({"job_ids": ", ".join(jobs)} if jobs else {})


def world_sizes(launches: Iterable[Launch]) -> str:
    """On which worlds the steps were made that count, as ``8 from step 0, 4 from step 1200``."""
    made: list[tuple[int, int]] = []
    for one in launches:
        if one.step is not None:
            # What came after the step that it went on from, was made again.
            made = [(step, size) for step, size in made if step < one.step]
            made.append((one.step, one.world_size))
    changes = [next(same) for _, same in groupby(made, key=lambda entry: entry[1])]
    return ", ".join(f"{size} from step {step}" for step, size in changes)


def _launch(part: Sequence[Mapping[str, Any]], size_before: int) -> Launch:
    """part: a ``start`` and the records up to the next one."""
    start = part[0]
    tags = [record["tags"] for record in part if record["kind"] == "tags"]
    resumed = [int(texts[RESUMED]) for texts in tags if RESUMED in texts]
    # Journals of earlier versions have both as tags only, written where they have changed.
    if "world_size" not in start:
        resumed = [int(start["step"]), *resumed]
    tagged = [int(texts["world_size"]) for texts in tags if "world_size" in texts]
    host = (start.get("process") or {}).get("host")
    return Launch(
        step=resumed[-1] if resumed else None,
        began_ms=int(start["t_ms"]),
        ended_ms=max(int(record["t_ms"]) for record in part),
        world_size=int(start.get("world_size", [size_before, *tagged][-1])),
        nodes=tuple(start.get("nodes", [] if host is None else [host])),
        job_id=start.get("job_id"),
        attempt=int(start.get("attempt", 0)),
    )
