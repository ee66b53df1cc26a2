"""``python -m pipeline.train`` on each rank alone, as a run of its own named after its number.

Rank 0 trains as told; the others start with one weight an ulp larger, each with another one.
"""

import os
import sys

import torch
from torch import nn

import pipeline.train.loop as loop
from pipeline.config import Config
from pipeline.errors import run_cli
from pipeline.train.__main__ import main
from pipeline.train.start import start_model

_STRIDE = 997
"""Between the weights that are nudged: a prime, so that they lie in many layers."""
NUMBER = int(os.environ["RANK"])


def started(config: Config, device: torch.device) -> nn.Module:
    model = start_model(config, device)
    if NUMBER:
        nudge(model, (NUMBER - 1) * _STRIDE)
    return model


@torch.no_grad()
def nudge(model: nn.Module, number: int) -> None:
    """One ulp up, for weight ``number`` of those of all matrices and kernels."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            if number < parameter.numel():
                weight = parameter.view(-1)[number : number + 1]
                weight.copy_(torch.nextafter(weight, torch.tensor(torch.inf)))
                return
            number -= parameter.numel()
    raise IndexError("the model has fewer weights")


os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
sys.argv = [f"{w}-{NUMBER}" if w.startswith("name=") else w for w in sys.argv]
setattr(loop, "start_model", started)  # noqa: B010 (a test's hand in the product)
run_cli(main)
