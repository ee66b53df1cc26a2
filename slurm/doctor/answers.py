"""What the nodes of a doctor's job leave for the one who asked: a file for each, growing."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.durable import write_file
from slurm.doctor.finding import Finding


@dataclass
class Answer:
    """What a node has found so far."""

    rank: int
    node: str
    findings: list[Finding] = field(default_factory=list[Finding])
    rates: dict[int, float | str] | None = None
    """MB/s of all-reduces with other ranks, or why there was none; None: not measured yet."""
    is_done: bool = False

    def write(self, folder: Path) -> None:
        """Replace what stands there of this node."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self)).encode()
        write_file(folder / f"{self.rank}.json", text, survives_power_loss=False)


def read_answers(folder: Path) -> list[Answer]:
    """Of all nodes that have begun, by rank."""
    answers = [_from_json(json.loads(path.read_bytes())) for path in folder.glob("[0-9]*.json")]
    return sorted(answers, key=lambda answer: answer.rank)


@dataclass(frozen=True)
class Ports:
    """Where the first node listens."""

    clock: int
    meeting: int
    """Of the store at which the ranks meet. Slurm's jobs have theirs from their number: on one
    machine two clusters' jobs would collide."""

    def write(self, folder: Path, attempt: int) -> None:
        """Tell the other nodes of this attempt of the job."""
        text = json.dumps(asdict(self)).encode()
        write_file(folder / f"ports-{attempt}.json", text, survives_power_loss=False)


def read_ports(folder: Path, attempt: int) -> Ports | None:
    """None before they are told."""
    try:
        return Ports(**json.loads((folder / f"ports-{attempt}.json").read_bytes()))
    except FileNotFoundError:
        return None


def _from_json(raw: dict[str, Any]) -> Answer:
    rates = raw.pop("rates")
    findings = [Finding(**finding) for finding in raw.pop("findings")]
    known = None if rates is None else {int(rank): rate for rank, rate in rates.items()}
    return Answer(**raw, findings=findings, rates=known)
