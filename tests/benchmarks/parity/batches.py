"""The micro-batches of a case from the pipeline's own loader, kept to be used again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import xxhash
from torch import Tensor

from pipeline.config import Config
from pipeline.data.batches import Step
from pipeline.data.loader import Loader
from pipeline.models.build import build_model
from pipeline.plan import Plan, make_plan, open_splits

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Batches:
    """What one rank trains on and all ranks are asked about."""

    plan: Plan
    loader: Loader
    steps: Sequence[Step]
    questions: Tensor
    """(B, 3, H, W): the first images of the validation split, on every rank."""


def batches_of(config: Config, rank: int, world: int) -> Batches:
    """All steps of a config, ready in memory."""
    splits = open_splits(config)
    plan = make_plan(config, world, *map(len, splits))
    rates = build_model(config.model, config.seed, config.augment.img_size).drop_path_rates
    loader = Loader(config, plan, rank, CPU, *splits, rates)
    # The plan counts evaluation batches alike for all worlds; as rank 0 of one it has the first.
    alone = Loader(config, replace(plan, world_size=1), 0, CPU, *splits, rates)
    questions = next(alone.evaluation()).images
    return Batches(plan, loader, list(loader.steps(0)), questions)


def digests(steps: Sequence[Step], micro_batches: int) -> Tensor:
    """(steps, micro_batches) int64: a hash of all that a micro-batch holds; 0 for other ranks'."""
    table = torch.zeros(len(steps), micro_batches, dtype=torch.int64)
    for row, step in enumerate(steps):
        for slot in step.slots:
            if not slot.is_empty:
                digest = xxhash.xxh64(str(slot.torch_seed).encode())
                for tensor in (slot.images, slot.targets, slot.drop_path):
                    if tensor is not None:
                        digest.update(tensor.contiguous().view(torch.uint8).numpy())
                table[row, slot.index] = digest.intdigest() >> 2
    return table
