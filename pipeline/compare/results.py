"""What came of a run, by the names that ``--filter``, ``--csv`` and ``--json`` use."""

import math
from collections.abc import Callable
from typing import Any

from pipeline.compare.run import Run

RESULTS: dict[str, Callable[[Run], float | int | str | None]] = {
    "status": lambda run: run.status,
    "best_top1": lambda run: None if run.best is None else run.best.top1,
    "best_step": lambda run: None if run.best is None else run.best.step,
    "best_epoch": lambda run: None if run.best is None else run.best.epoch,
    "final_top1": lambda run: run.final_top1,
    "final_top5": lambda run: run.final_top5,
    "final_ema_top1": lambda run: run.final_ema_top1,
    "final_val_loss": lambda run: run.final_val_loss,
    "last_train_loss": lambda run: run.last_train_loss,
    "last_step": lambda run: run.last_step,
    "epochs": lambda run: run.epochs,
    "planned_epochs": lambda run: run.planned_epochs,
    "images": lambda run: run.images,
    "gpu_hours": lambda run: run.gpu_hours,
    "wall_s": lambda run: run.wall_s,
    "images_per_second": lambda run: run.images_per_second,
    "mfu": lambda run: run.mfu,
    "ranks": lambda run: run.worlds[-1] if run.worlds else None,
    "code": lambda run: run.code,
}
"""top1 and top5 in percent; images_per_second and mfu, a fraction, are medians; ranks are those of
the last launch."""


def plain(value: Any) -> Any:
    """As strict JSON takes it: NaN and infinity are texts."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
