"""A model's answers for every image of a split, without the training engine."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.config import Config
from pipeline.data.evaluation import eval_batches
from pipeline.data.images import Images
from pipeline.data.mix import DTYPES, Normaliser
from pipeline.evaluate.scores import Predictions, batch_sums, mean_scores, top_classes
from pipeline.inference.model import logits_of
from pipeline.log import ProgressLine
from pipeline.models.computing import ImageForm
from pipeline.shards import ShardSplit


def predict_split(
    model: nn.Module, config: Config, split: ShardSplit, device: torch.device
) -> Predictions:
    """Evaluate the model as ``ready`` made it, in the batches and sums of a training.

    Raises DataError where a shard cannot be read or too many images cannot be decoded.
    """
    numbers = range(-(-len(split) // config.evaluate.batch_size))
    images, form = Images(config, split, device), ImageForm(config)
    normalised = Normaliser(config.augment, device, DTYPES[config.engine.dtype])
    progress = ProgressLine("evaluate", len(split), every_s=config.tracking.terminal_every_s)
    rows = torch.zeros(len(numbers), 4, dtype=torch.float64)
    top: list[NDArray[np.int64]] = []
    done = 0
    for batch in eval_batches(config, images, normalised, device, numbers):
        logits = form.evaluated(partial(logits_of, model), batch.images)
        answers = top_classes(logits)
        rows[batch.index] = batch_sums(logits, answers, batch.targets)
        top.append(answers.cpu().numpy())
        done += len(batch.ids)
        progress.update(done)
    progress.close()
    labels = split.labels(np.arange(len(split)))
    return Predictions(mean_scores(rows), labels, np.concatenate(top))
