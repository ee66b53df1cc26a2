"""How fast a model answers, by batch size."""

import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pipeline.config import Config
from pipeline.data.mix import DTYPES
from pipeline.inference.model import logits_of
from pipeline.log import warn

_WARM_UP = 2
_FEWEST_RUNS, _MOST_RUNS = 5, 50
_SECONDS = 1.0
"""Per batch size, once it has run often enough."""


@dataclass(frozen=True)
class Speed:
    """Medians over several runs of the model alone: images lie on the device already."""

    batch: int
    ms: float
    """Of one batch."""
    images_per_s: float


def measure(
    model: nn.Module, config: Config, device: torch.device, batches: Sequence[int]
) -> list[Speed]:
    """Time the model as ``ready`` made it; batches that the device has no memory for are named."""
    found: list[Speed] = []
    for batch in batches:
        try:
            seconds = statistics.median(_seconds(model, config, device, batch))
        except torch.OutOfMemoryError:
            warn(f"a batch of {batch} does not fit into the memory of {device}")
            break
        found.append(Speed(batch, 1000 * seconds, batch / seconds))
    return found


def machine(config: Config, device: torch.device) -> str:
    """What it ran on: the GPU, or the processor and the threads; and the dtype."""
    dtype = config.engine.dtype
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {dtype}"
    return f"{_processor()}, {torch.get_num_threads()} thread(s), {dtype}"


def _seconds(model: nn.Module, config: Config, device: torch.device, batch: int) -> list[float]:
    side = config.augment.img_size
    # In memory as the loader gives them: channels last.
    images = torch.zeros(batch, side, side, 3, device=device, dtype=DTYPES[config.engine.dtype])
    images = images.permute(0, 3, 1, 2)

    def run() -> float:
        began = time.perf_counter()
        logits_of(model, images)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    for _ in range(_WARM_UP):
        run()
    times: list[float] = []
    while len(times) < _FEWEST_RUNS or (sum(times) < _SECONDS and len(times) < _MOST_RUNS):
        times.append(run())
    return times


def _processor() -> str:
    """Linux says the processor's name only there."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
