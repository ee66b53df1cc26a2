"""How far a run is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Progress:
    """All that a resumed run needs beside the engine's state."""

    step: int = 0
    """Optimizer steps done."""
    updates: int = 0
    """Updates that the weights have seen: without those skipped or taken back."""
    skipped_in_a_row: int = 0
    skipped_steps: int = 0
    """In all."""
    loss_sums: tuple[float, ...] = ()
    """Per micro-batch, over ``loss_steps``: an interruption leaves no trace in the curve."""
    loss_steps: int = 0
    """Steps since the last journal entry, without the skipped ones."""
    best_top1: float | None = None
    best_step: int | None = None
    top1: float | None = None
    """Of the evaluation at this step, if there was one."""
    rolled_back: tuple[tuple[int, int], ...] = ()
    """First and last step of each window whose effect was taken back, bad steps at its end."""


def evaluated(progress: Progress, top1: float) -> Progress:
    """Note an evaluation's result; the first of equals stays the best."""
    is_best = progress.best_top1 is None or top1 > progress.best_top1
    progress = replace(progress, top1=top1)
    return replace(progress, best_top1=top1, best_step=progress.step) if is_best else progress


def progress_from(facts: Mapping[str, Any]) -> Progress:
    """Read back ``dataclasses.asdict`` of one from JSON. Raises TypeError for unknown fields."""
    windows = tuple((first, last) for first, last in facts.get("rolled_back", ()))
    return Progress(
        **{**facts, "loss_sums": tuple(facts.get("loss_sums", ())), "rolled_back": windows}
    )
