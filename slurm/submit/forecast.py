"""What a training will need: memory of a GPU, hours, time slots; from a table, without torch."""

import functools
import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from pipeline.config import Config
from pipeline.config.schema import MetaFormerConfig
from pipeline.plan import Plan
from slurm.submit.time_limit import working_s

_FILE = Path(__file__).with_name("forecast.yaml")
_BUCKET_BYTES = 2 * 4 * 2**24
"""Two fp32 buffers of gradients under way (pipeline/engine/settings.py)."""
_START_S = 120.0
"""Of a slot: starting Python on all ranks, the preflight, reading a checkpoint. A guess."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KnownModel(_Row):
    """A model's figures; see forecast.yaml."""

    config: str
    settings: dict[str, Any]
    num_classes: int = 1000
    img_size: int
    parameters: int
    frozen: int
    macs: int
    activation_bytes: int


class Speed(_Row):
    """A measured training; see forecast.yaml."""

    config: str
    img_size: int
    dtype: Literal["bf16", "fp32"]
    device: Literal["cuda", "cpu"]
    hardware: str
    images_per_second: float
    date: date
    source: str


class Peak(_Row):
    """A GPU's limit; see forecast.yaml."""

    hardware: str
    source: str
    flops: dict[str, float]


class Table(_Row):
    """All that forecasts go by."""

    models: tuple[KnownModel, ...]
    speeds: tuple[Speed, ...]
    peak: Peak


@dataclass(frozen=True)
class Forecast:
    """Of one training; None is what the table does not know."""

    images: int
    """Still to be trained on."""
    state_bytes: int | None
    """Of a rank: weights, gradients, and its part of the optimizer's state."""
    activation_bytes: int | None
    rank_hours: float | None
    """GPU-hours, or hours of processes on CPUs."""
    basis: str
    """Where the hours come from, or why there are none."""
    least_rank_hours: float | None
    """What no GPU of today can fall below."""
    time_slots: int | None
    """Jobs, or starts of one, until it is done: one more than requeues."""
    least_time_slots: int | None


@functools.cache
def table() -> Table:
    """The committed figures."""
    # YAML's C parser: the pure one takes as long as all the rest.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Table.model_validate(yaml.load(_FILE.read_text(encoding="utf-8"), loader))


def forecast(config: Config, plan: Plan, time_min: int, saved_step: int = 0) -> Forecast:
    """Of what is left after ``saved_step`` steps, in slots of ``time_min``."""
    images = max(plan.total_steps - saved_step, 0) * plan.global_batch
    model = _known(config)
    speed = _speed(config, model)
    hours = images / speed.images_per_second / 3600 if speed else None
    least = _least_hours(config, model, images)
    return Forecast(
        images=images,
        state_bytes=_state_bytes(config, plan, model) if model else None,
        activation_bytes=_activation_bytes(config, model) if model else None,
        rank_hours=hours,
        basis=_basis(config, model, speed),
        least_rank_hours=least,
        time_slots=_slots(hours, plan, time_min),
        least_time_slots=_slots(least, plan, time_min),
    )


def _known(config: Config) -> KnownModel | None:
    """The row of this architecture, whatever the image size."""
    if config.model.name != "metaformer":
        return None
    own = config.model.metaformer
    for row in table().models:
        theirs = MetaFormerConfig(**row.settings, layer_scale_init=own.layer_scale_init)
        if theirs == own:
            return row
    return None


def _speed(config: Config, model: KnownModel | None) -> Speed | None:
    if model is None:
        return None
    wanted = (model.config, config.augment.img_size, config.engine.dtype, config.device)
    for row in table().speeds:
        if (row.config, row.img_size, row.dtype, row.device) == wanted:
            return row
    return None


def _basis(config: Config, model: KnownModel | None, speed: Speed | None) -> str:
    if speed is not None:
        return (
            f"{speed.images_per_second:g} img/s of a rank, measured on {speed.hardware} on "
            f"{speed.date} ({speed.source})"
        )
    if model is None:
        return "the model is in no table of known ones"
    size = config.augment.img_size
    return f"not measured on {config.device} yet for this model at {size} px"


def _least_hours(config: Config, model: KnownModel | None, images: int) -> float | None:
    if model is None or config.device != "cuda" or config.augment.img_size != model.img_size:
        return None
    # Forward pass once, backward pass twice; a multiply-add is two operations.
    return images * 6 * model.macs / table().peak.flops[config.engine.dtype] / 3600


def _state_bytes(config: Config, plan: Plan, model: KnownModel) -> int:
    """By pipeline/engine: bf16 weights have fp32 masters, AdamW has two fp32 moments."""
    stage, world = config.engine.zero_stage, plan.world_size
    is_bf16 = config.engine.dtype == "bf16"
    head = (config.model.num_classes - model.num_classes) * (config.model.metaformer.dims[-1] + 1)
    trained = model.parameters + head
    weights = trained * (2 if is_bf16 else 4) // (world if stage == 3 else 1)
    gradients = trained * (2 if is_bf16 else 4) // (world if stage >= 2 else 1)
    if is_bf16 and plan.slots > 1:
        gradients += 4 * trained // (world if stage >= 2 else 1)
    optimizer = trained * (12 if is_bf16 else 8) // (world if stage else 1)
    average = 4 * trained if config.optim.model_ema_decay else 0
    return weights + gradients + optimizer + average + 4 * model.frozen + _BUCKET_BYTES


def _activation_bytes(config: Config, model: KnownModel) -> int | None:
    """Of a micro-batch; more than needed where blocks are computed again."""
    if config.augment.img_size != model.img_size:
        return None
    per_image = model.activation_bytes * (1 if config.engine.dtype == "bf16" else 2)
    return per_image * config.train.micro_batch


def _slots(rank_hours: float | None, plan: Plan, time_min: int) -> int | None:
    if rank_hours is None:
        return None
    # An empty slot of a step takes as long as a full one.
    share = plan.micro_batches / (plan.world_size * plan.slots)
    needed_s = rank_hours * 3600 / plan.world_size / share
    return max(1, math.ceil(needed_s / max(working_s(time_min) - _START_S, 1.0)))
