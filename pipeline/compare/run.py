"""A run as the comparison sees it: what it was set to do, what came of it, and its curves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.tracking.lifecycle import Status

Axis = Literal["step", "epoch", "images", "time", "gpu_hours"]
AXES: tuple[Axis, ...] = get_args(Axis)
AXIS_LABELS: dict[Axis, str] = {
    "step": "optimizer step",
    "epoch": "epoch",
    "images": "images",
    "time": "hours at work",
    "gpu_hours": "GPU-hours",
}

PROGRESS = {"epoch": "progress/epoch", "images": "progress/images"}
GPU_HOURS = "progress/gpu_hours"

_SECONDS_PER_HOUR = 3600.0
_EPOCHS_TOLERANCE = 1e-6


class Best(NamedTuple):
    """The highest top-1 (percent) and the first step, and its epoch, that reached it.

    That of the weights' moving average where one is kept, as for the best checkpoint.
    """

    top1: float
    step: int
    epoch: float | None


@dataclass(frozen=True, eq=False)
class Curve:
    """A metric against the optimizer step; NaN and infinity are kept.

    ``steps``: (N,) int64, strictly ascending. ``values``: (N,) float64.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def last(self) -> float:
        return float(self.values[-1])


@dataclass(frozen=True, eq=False)
class Run:
    """One run; None is what it has not measured.

    ``settings`` are texts by dotted key, as a config file has them. top1 and top5 are percent,
    ``wall_s`` is seconds at work over all launches, without the time in queues between them;
    ``images_per_second`` and ``mfu``, a fraction, are medians; ``gpu_hours`` counts a rank on a CPU
    as one GPU.
    """

    name: str
    folder: Path | None
    mlflow_run_id: str | None
    experiment: str | None
    settings: dict[str, str]
    tags: dict[str, str]
    digests: dict[str, str]
    """sha256 of what was read, by ``<dataset>-<split>``."""
    code: str | None
    """Commit, with ``+ changes`` where the checkout had some."""
    worlds: tuple[int, ...]
    """Ranks of each launch."""
    status: Status
    best: Best | None
    final_top1: float | None
    final_top5: float | None
    final_val_loss: float | None
    last_train_loss: float | None
    last_step: int | None
    epochs: float | None
    images: float | None
    gpu_hours: float | None
    wall_s: float | None
    images_per_second: float | None
    mfu: float | None
    curves: dict[str, Curve]
    """All metrics but the machine's load."""
    seconds: Curve
    """Seconds at work since the first start, by step."""
    run_key: str | None = None
    notes: tuple[str, ...] = ()
    """What the reader should know of how this run was read, such as damaged lines."""

    @property
    def has_metrics(self) -> bool:
        return self.last_step is not None

    @property
    def seed(self) -> str | None:
        return self.settings.get("seed")

    @property
    def planned_epochs(self) -> int | None:
        """Epochs of the whole schedule, cool-down included; None where the config is unknown."""
        texts = self.settings.get("train.epochs"), self.settings.get("optim.cooldown_epochs", "0")
        if texts[0] is None or not (texts[0].isdigit() and texts[1].isdigit()):
            return None
        return int(texts[0]) + int(texts[1])

    @property
    def is_complete(self) -> bool:
        """Has it run all its epochs? One with train.max_steps may be FINISHED before."""
        if self.status != "FINISHED":
            return False
        if self.epochs is None or self.planned_epochs is None:
            return True
        return self.epochs >= self.planned_epochs - _EPOCHS_TOLERANCE

    @property
    def final_ema_top1(self) -> float | None:
        """Last top-1 of the weights' moving average, in percent."""
        curve = self.curves.get("val/ema_top1")
        return None if curve is None else curve.last

    def x_of(self, axis: Axis, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """Where ``steps`` (N,) lie on an axis, (N,): hours for time; NaN where it is unknown."""
        if axis == "step":
            return steps.astype(np.float64)
        if axis == "time":
            return _at(self.seconds, steps) / _SECONDS_PER_HOUR
        curve = self.curves.get(GPU_HOURS if axis == "gpu_hours" else PROGRESS[axis])
        if curve is not None:
            return _at(curve, steps)
        batch = self.settings.get("train.global_batch", "")
        if axis == "images" and batch.isdigit():
            # Every optimizer step is one whole global batch.
            return steps.astype(np.float64) * int(batch)
        return np.full(len(steps), np.nan)


def _at(curve: Curve, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """The curve between its points; it begins at 0 in step 0."""
    known = np.isfinite(curve.values)
    xs, ys = curve.steps[known], curve.values[known]
    if not len(xs):
        return np.full(len(steps), np.nan)
    if xs[0] > 0:
        xs, ys = np.concatenate([[0], xs]), np.concatenate([[0.0], ys])
    return np.interp(steps, xs, ys)
