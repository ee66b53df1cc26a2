"""The images of an evaluation: those of a split in the order of their ids, each once."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data.augment.transforms import eval_transforms
from pipeline.data.batches import EvalBatch
from pipeline.data.images import Images
from pipeline.data.mix import Normaliser, to_host


def eval_batches(
    config: Config,
    images: Images,
    normalised: Normaliser,
    device: torch.device,
    numbers: Sequence[int],
) -> Iterator[EvalBatch]:
    """Batches of evaluate.batch_size images, by their numbers; the last of all may be smaller."""
    split, size = images.split, config.evaluate.batch_size

    def ids_of_batches() -> Iterator[NDArray[np.int64]]:
        for number in numbers:
            yield np.arange(number * size, min((number + 1) * size, len(split)), dtype=np.int64)

    transforms = (
        eval_transforms(config.evaluate, config.augment.img_size, split.sizes(ids))
        for ids in ids_of_batches()
    )
    decoded = images.decoded(ids_of_batches, transforms, size, layers=0)
    for number, ids in zip(numbers, ids_of_batches(), strict=True):
        pixels = next(decoded).pixels
        labels = to_host(split.labels(ids), device).to(device)
        yield EvalBatch(number, ids, normalised(pixels), labels)
