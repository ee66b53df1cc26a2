"""``python -m pipeline.train`` with infinities in the images of given steps (SPOILT=3,4,5)."""

import os
from dataclasses import replace
from typing import Any

import torch

from pipeline.data.batches import MicroBatch
from pipeline.data.loader import Loader
from pipeline.errors import run_cli
from pipeline.train.__main__ import main

SPOILT = {int(word) for word in os.environ["SPOILT"].split(",") if word}
MICRO_BATCH, IMAGE = 1, 7
steps = Loader.steps


def spoilt_steps(self: Loader, start: int) -> Any:
    for step in steps(self, start):
        if step.number + 1 in SPOILT:
            yield replace(step, slots=[spoilt(slot) for slot in step.slots])
        else:
            yield step


def spoilt(slot: MicroBatch) -> MicroBatch:
    if slot.index != MICRO_BATCH:
        return slot
    images = slot.images.clone()
    images[IMAGE] = torch.inf
    return replace(slot, images=images)


Loader.steps = spoilt_steps
run_cli(main)
