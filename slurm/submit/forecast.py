"""What a training will need: memory of a GPU, hours, time slots; from a table, without torch."""

import math
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.plan import Plan
from pipeline.plan.known import (
    KnownModel,
    Speed,
    known_model,
    measured_speeds,
    table,
    trained_parameters,
)
from pipeline.plan.traffic import BUCKET_ELEMENTS
from slurm.submit.time_limit import working_s

_BUCKET_BYTES = 2 * 4 * BUCKET_ELEMENTS
"""Two fp32 buffers of gradients under way."""
_START_S = 120.0
"""Of a slot: starting Python on all ranks, the preflight, reading a checkpoint. A guess."""


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
    """Of the table's usual GPU at its peak."""
    time_slots: int | None
    """Jobs, or starts of one, until it is done: one more than requeues."""
    least_time_slots: int | None


def forecast(config: Config, plan: Plan, time_min: int, saved_step: int = 0) -> Forecast:
    """Of what is left after ``saved_step`` steps, in slots of ``time_min``."""
    images = max(plan.total_steps - saved_step, 0) * plan.global_batch
    model = known_model(config)
    speed = next(iter(measured_speeds(config, model)), None)
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
    return images * model.training_flops / table().usual_gpu.flops[config.engine.dtype] / 3600


def _state_bytes(config: Config, plan: Plan, model: KnownModel) -> int:
    """By pipeline/engine: bf16 weights have fp32 masters, AdamW has two fp32 moments."""
    stage, world = config.engine.zero_stage, plan.world_size
    is_bf16 = config.engine.dtype == "bf16"
    trained = trained_parameters(config, model)
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
