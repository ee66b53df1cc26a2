"""Loss, top-1 and top-5 over the validation split: every image once, on any number of ranks."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.collective import Collective
from pipeline.data.loader import Loader
from pipeline.engine import Engine

TOP = 5
"""Answers per image that are kept."""


@dataclass(frozen=True)
class Scores:
    """Means over the split; top-1 and top-5 in percent."""

    loss: float
    top1: float
    top5: float
    images: int
    average: "Scores | None" = None
    """Those of the weights' moving average, where one is kept."""

    @property
    def top1_of_best(self) -> float:
        """What decides which checkpoint is the best: the average's, if there is one."""
        return self.top1 if self.average is None else self.average.top1

    def metrics(self) -> dict[str, float]:
        """By their names in the journal."""
        found = {"val/loss": self.loss, "val/top1": self.top1, "val/top5": self.top5}
        if self.average is not None:
            found |= {"val/ema_loss": self.average.loss, "val/ema_top1": self.average.top1}
        return found


@dataclass(frozen=True)
class Predictions:
    """Answers for N images, in the order of their ids."""

    scores: Scores
    labels: NDArray[np.int64]
    """(N,) the right classes."""
    top: NDArray[np.int64]
    """(N, 5) classes, the most likely first; fewer columns where the model has no 5."""


def evaluate(engine: Engine, loader: Loader, collective: Collective) -> Predictions:
    """Evaluate; every rank gets the same predictions, equal for any world size.

    Batches are fixed by the config and summed in their order, so no world changes a digit. Where
    a moving average of the weights is kept, the answers are its own.
    """
    found = _evaluate(engine, loader, collective)
    if not engine.state.keeps_average:
        return found
    with engine.state.averaged():
        average = _evaluate(engine, loader, collective)
    return replace(average, scores=replace(found.scores, average=average.scores))


def _evaluate(engine: Engine, loader: Loader, collective: Collective) -> Predictions:
    images, classes = len(loader.val), loader.config.model.num_classes
    # One row per batch, filled by the rank that has it: the sum over ranks only adds zeros.
    rows = torch.zeros(loader.plan.eval_batches, 4, dtype=torch.float64)
    # Of each image how often it came, and the answers.
    answers = torch.zeros(images, 1 + min(TOP, classes), dtype=torch.int32)
    # Stage 3 gathers weights in every forward pass: all ranks must make equally many.
    for batch in loader.evaluation():
        logits = engine.logits(batch.images)
        if batch.is_padding:
            continue
        top = top_classes(logits)
        rows[batch.index] = batch_sums(logits, top, batch.targets)
        ids = torch.from_numpy(batch.ids)
        answers[ids, 0] += 1
        answers[ids, 1:] = top.cpu().int()
    collective.total(rows)
    collective.total(answers)
    assert bool((answers[:, 0] == 1).all()), "an image was evaluated twice or never"
    labels = loader.val.labels(np.arange(images))
    return Predictions(mean_scores(rows), labels, answers[:, 1:].numpy().astype(np.int64))


def batch_sums(logits: Tensor, top: Tensor, targets: Tensor) -> Tensor:
    """logits: (B, classes) fp32; top: (B, 5), their ``top_classes``; targets: (B,).

    Returns (4,) fp64: loss, top-1, top-5, images.
    """
    is_target = top == targets[:, None]
    return torch.tensor(
        [
            cross_entropy(logits, targets, reduction="sum").item(),
            is_target[:, 0].sum().item(),
            is_target.sum().item(),
            len(targets),
        ],
        dtype=torch.float64,
    )


def mean_scores(rows: Tensor) -> Scores:
    """rows: (batches, 4), one ``batch_sums`` each, in the order of the batches."""
    loss, top1, top5, images = rows.sum(dim=0).tolist()
    return Scores(loss / images, 100 * top1 / images, 100 * top5 / images, int(images))


def top_classes(logits: Tensor) -> Tensor:
    """(B, 5) classes, the most likely first; fewer where the model has no 5."""
    return logits.topk(min(TOP, logits.shape[1])).indices
