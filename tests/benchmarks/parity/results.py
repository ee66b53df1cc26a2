"""What ranks find out, in files between their processes and the judge; tensors and JSON."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.benchmarks.parity.plain import OneStep


@dataclass(frozen=True)
class Outcome:
    """Of one case, or of the plain training."""

    curve: Tensor
    """(steps, micro_batches) fp32 losses."""
    digests: Tensor
    """(steps, micro_batches) int64: what each micro-batch held."""
    steps: dict[int, OneStep]
    """One update from the state after so many steps of the plain training."""
    facts: dict[str, Any]
    """Scores, dtypes, traffic, memory."""

    def mean_curve(self) -> Tensor:
        """(steps,) fp64 mean losses."""
        return self.curve.double().mean(1)


def save(path: Path, outcome: Outcome) -> None:
    """Write ``path`` with the suffixes .safetensors and .json."""
    tensors = {"curve": outcome.curve, "digests": outcome.digests}
    for number, step in outcome.steps.items():
        for field in fields(OneStep):
            value = getattr(step, field.name)
            if isinstance(value, Tensor):
                tensors[f"{number}/{field.name}"] = value
            else:
                tensors |= {f"{number}/{field.name}/{name}": t for name, t in value.items()}
    save_file({name: t.detach().contiguous() for name, t in tensors.items()}, _tensors(path))
    _facts(path).write_text(json.dumps(outcome.facts))


def read(path: Path) -> Outcome:
    """What ``save`` wrote."""
    tensors = load_file(_tensors(path))
    numbers = sorted({int(name.split("/")[0]) for name in tensors if "/" in name})
    steps = {
        number: OneStep(
            losses=tensors[f"{number}/losses"],
            gradients=_named(tensors, f"{number}/gradients/"),
            buffers=_named(tensors, f"{number}/buffers/"),
            logits=tensors[f"{number}/logits"],
            logits_after=tensors[f"{number}/logits_after"],
        )
        for number in numbers
    }
    facts = json.loads(_facts(path).read_text())
    return Outcome(tensors["curve"], tensors["digests"], steps, facts)


def is_there(work: Path, name: str) -> bool:
    """Whether the outcome of that name was written whole."""
    return _facts(work / name).is_file()


def state_path(work: Path, row: str, number: int) -> Path:
    """Where the plain training leaves its state after so many steps."""
    return work / f"{row}-state-{number}.safetensors"


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Norm of the difference of all tensors together, relative to the norm of theirs."""
    assert ours.keys() == theirs.keys()
    names = sorted(theirs)
    one, other = (torch.cat([d[n].double().flatten() for n in names]) for d in (ours, theirs))
    return float(torch.linalg.vector_norm(one - other) / torch.linalg.vector_norm(other))


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _tensors(path: Path) -> Path:
    return path.with_name(f"{path.name}.safetensors")


def _facts(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
