"""How the ranks of an attempt ended, as far as they could still say so: a file for each."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.durable import write_file


@dataclass(frozen=True)
class Ending:
    """A rank that ended with something to say."""

    rank: int
    node: str
    exit_code: int
    message: str
    is_node_unfit: bool = False
    """The preflight blames the node alone."""
    at_s: float = field(default_factory=time.time)
    """Seconds since the epoch: the first failure is the cause of the others."""


def endings_folder(logs: Path, job_id: str, attempt: int) -> Path:
    """Where the ranks of one attempt leave theirs. job_id: as Slurm numbers it, no array index."""
    return logs / "endings" / f"{job_id}-{attempt}"


def note_ending(folder: Path, ending: Ending) -> None:
    """Leave a rank's ending."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(asdict(ending)).encode()
    write_file(folder / f"{ending.rank}.json", content, survives_power_loss=False)


def read_endings(folder: Path) -> list[Ending]:
    """What the ranks left, the earliest first; none where nobody could."""
    endings: list[Ending] = []
    for path in folder.glob("*.json"):
        try:
            endings.append(Ending(**json.loads(path.read_bytes())))
        except ValueError:
            continue  # its node was lost while it wrote
    return sorted(endings, key=lambda ending: ending.at_s)
