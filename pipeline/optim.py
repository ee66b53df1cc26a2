"""Optimizer and learning-rate schedule from timm's factories."""

from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn

from pipeline.config.schema import OptimConfig, TrainConfig
from pipeline.errors import UserError
from pipeline.models.build import no_weight_decay
from pipeline.plan import Plan

_FUSED = ("adam", "adamw")
"""PyTorch's own that can update in one pass: on CPUs a tenth of the time, on GPUs one kernel."""


def build_optimizer(model: nn.Module, config: OptimConfig, lr: float) -> torch.optim.Optimizer:
    """timm's optimizer with two groups: weights decay, biases and 1-D parameters do not.

    Raises UserError where timm knows no optimizer of that name.
    """
    exempt = no_weight_decay(model)
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_plain = parameter.ndim <= 1 or name.endswith(".bias") or name in exempt
            (plain if is_plain else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    options: dict[str, Any] = {"fused": True} if config.opt in _FUSED else {}
    try:
        return create_optimizer_v2(
            [group for group in groups if group["params"]],
            opt=config.opt,
            lr=lr,
            weight_decay=config.weight_decay,
            betas=config.opt_betas,
            eps=config.opt_eps,
            **options,
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"optim.opt={config.opt}: timm says {error}; use adamw") from error


class Schedule:
    """Learning rate of an optimizer step: timm's cosine with warm-up and cool-down."""

    def __init__(self, config: OptimConfig, train: TrainConfig, plan: Plan):
        # The scheduler wants an optimizer to write to; the engine's own takes what we read here.
        self._sink = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=plan.lr_peak)
        self._steps_per_epoch = plan.steps_per_epoch
        self._per_update = config.sched_on_updates
        self._scheduler, _ = create_scheduler_v2(
            self._sink,
            sched=config.sched,
            num_epochs=train.epochs,
            cooldown_epochs=config.cooldown_epochs,
            min_lr=config.min_lr,
            warmup_lr=config.warmup_lr,
            warmup_epochs=config.warmup_epochs,
            step_on_epochs=not config.sched_on_updates,
            updates_per_epoch=plan.steps_per_epoch,
        )

    def lr(self, step: int) -> float:
        """Learning rate of the step (0-based)."""
        assert self._scheduler is not None
        if self._per_update:
            self._scheduler.step_update(step)
        else:
            self._scheduler.step(step // self._steps_per_epoch)
        return self._sink.param_groups[0]["lr"]
