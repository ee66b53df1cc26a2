"""One model on one split: its scores, and what they are made of."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.device import open_device
from pipeline.evaluate.predictions import predict_split
from pipeline.evaluate.report import (
    ClassScores,
    Confusion,
    RealScores,
    class_scores,
    confusions,
    real_scores,
)
from pipeline.evaluate.scores import Scores
from pipeline.inference.model import load_model, ready
from pipeline.inference.trained import Trained
from pipeline.models.computing import compile_blocks
from pipeline.models.imagenet import is_imagenet1k, real_labels
from pipeline.shards import ShardSplit
from pipeline.world import World


@dataclass(frozen=True)
class Evaluation:
    """All that is said of a model on a split."""

    scores: Scores
    real: RealScores | None
    """None where the images are not ImageNet's."""
    classes: list[ClassScores]
    confusions: list[Confusion]


def evaluate_model(trained: Trained, split: ShardSplit) -> Evaluation:
    """Compute all of it. Raises PreflightError, DataError, and UserError of foreign weights."""
    config = trained.config
    device = open_device(config, World())
    model = ready(load_model(trained), config, device)
    compile_blocks(model, config)  # as in training: other kernels round otherwise
    found = predict_split(model, config, split, device)
    return Evaluation(
        found.scores,
        _real(split, found.top),
        class_scores(found.labels, found.top, split.classes),
        confusions(found.labels, found.top, split.classes),
    )


def _real(split: ShardSplit, top: NDArray[np.int64]) -> RealScores | None:
    if not is_imagenet1k(split.classes):
        return None
    stems = [Path(split.name(sample)[1]).stem for sample in range(len(split))]
    return real_scores(stems, top, real_labels())
