"""What a journal says of its run as a whole: results, cost, best checkpoints. Pure."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.tracking.upload.batch import Batch, Checkpoint, RunState

_BEST_OF = ("val/ema_top1", "val/top1")
"""What decides which checkpoint is the best: the weights' average's, where one is kept."""


class Score(NamedTuple):
    """A value of a metric and where the run has it; ``t_ms``: milliseconds since the epoch."""

    value: float
    step: int
    t_ms: int


@dataclass
class RunFacts:
    """Grows with every batch of the journal, in its order."""

    params: dict[str, str] = field(default_factory=dict[str, str])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    digests: dict[str, str] = field(default_factory=dict[str, str])
    """By ``<dataset>-<split>``."""
    samples: dict[str, int] = field(default_factory=dict[str, int])
    """Images, by ``<dataset>-<split>``."""
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict[int, Checkpoint])
    """The best ones by step, in the order in which they were committed."""
    state: RunState | None = None
    last_ms: int = 0
    epochs: dict[int, float] = field(default_factory=dict[int, float])
    """By step, of those steps that were evaluated."""
    _evaluations: dict[str, dict[int, Score]] = field(default_factory=dict[str, dict[int, Score]])
    _progress: dict[str, float] = field(default_factory=dict[str, float])

    def see(self, batch: Batch) -> None:
        """Take the next stretch of the journal into account."""
        self.params |= batch.params
        self.tags |= batch.tags
        for dataset in batch.datasets:
            name = f"{dataset['name']}-{dataset['split']}"
            self.digests[name] = str(dataset["digest"])
            self.samples[name] = int(dataset["samples"])
        for checkpoint in batch.checkpoints:
            # To the end, also if this step was the best before: a restart may go back.
            self.checkpoints.pop(checkpoint.step, None)
            self.checkpoints[checkpoint.step] = checkpoint
        for key, value, t_ms, step in batch.points:
            if key.startswith("val/"):
                self._evaluations.setdefault(key, {})[step] = Score(value, step, t_ms)
            elif key.startswith("progress/"):
                self._progress[key] = value
                if key == "progress/epoch":
                    self.epochs[step] = value
        self.state = batch.state or self.state
        self.last_ms = max(self.last_ms, batch.last_ms)

    def score(self, key: str, step: int) -> Score | None:
        """A metric of an evaluation."""
        return self._evaluations.get(key, {}).get(step)

    @property
    def best(self) -> Score | None:
        """The highest top-1, in percent, and the first step that reached it."""
        for key in _BEST_OF:
            scores = [s for s in self._evaluations.get(key, {}).values() if math.isfinite(s.value)]
            if scores:
                return max(scores, key=lambda score: (score.value, -score.step))
        return None

    @property
    def last_checkpoint(self) -> Checkpoint | None:
        """The newest best one."""
        return next(reversed(self.checkpoints.values()), None)

    @property
    def images(self) -> float | None:
        return self._progress.get("progress/images")

    @property
    def gpu_hours(self) -> float | None:
        return self._progress.get("progress/gpu_hours")
