"""DeepSpeed: its config as a pure function, and the engine; only importer of deepspeed."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.config import Config
from pipeline.data.batches import Step
from pipeline.plan import Plan

MASTER = "master"
MOMENTS = ("exp_avg", "exp_avg_sq")


def deepspeed_config(config: Config, plan: Plan) -> dict[str, Any]:
    """What DeepSpeed is told; nobody writes its JSON by hand.

    Gradients are reduced in fp32. With one micro-batch per rank nothing accumulates, so
    reduction overlaps the backward pass; with more they accumulate in fp32.
    """
    accumulates = plan.slots > 1
    is_bf16 = config.engine.dtype == "bf16"
    return {
        "train_batch_size": plan.micro_batch * plan.slots * plan.world_size,
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": plan.slots,
        "gradient_clipping": config.optim.clip_grad or 0.0,
        "communication_data_type": "fp32",
        "data_types": {"grad_accum_dtype": "fp32" if accumulates or not is_bf16 else "bf16"},
        "bf16": {"enabled": is_bf16, "check_grad_overflow": is_bf16},
        "zero_optimization": {
            "stage": config.engine.zero_stage,
            "overlap_comm": not accumulates and config.device == "cuda",
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step left behind on this rank."""

    losses: Tensor
    """(micro_batches,) fp32 on the device: the mean loss of each one computed here, else 0."""
    grad_norm: float | None
    is_skipped: bool
    """DeepSpeed found inf or NaN in the gradients and changed nothing."""


class Engine:
    """A model under DeepSpeed: steps, predictions, and its whole state by parameter name."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, config: Config, plan: Plan
    ):
        with _quiet():
            deepspeed = _import_deepspeed(config.device)
        self._deepspeed = deepspeed
        self._plan = plan
        self._stage = config.engine.zero_stage
        self._smoothing = config.augment.smoothing
        self._states_linked = False
        with _quiet():
            self._engine, *_ = deepspeed.initialize(
                model=model,
                optimizer=optimizer,
                config=deepspeed_config(config, plan),
                dist_init_required=False,
            )
        self.device = torch.device(self._engine.device)
        self.module: nn.Module = self._engine.module
        self._masters = {id(weight): master for weight, master in self._master_pairs()}
        self._undo_first_step()

    def train_step(self, step: Step, lr: float) -> StepResult:
        """Forward, backward and update over this rank's slots."""
        self._engine.train()
        self._set_lr(lr)
        losses = torch.zeros(self._plan.micro_batches, device=self.device)
        for slot in step.slots:
            torch.manual_seed(slot.torch_seed)
            logits = self._engine(slot.images, slot.drop_path)
            loss = cross_entropy(logits.float(), slot.targets, label_smoothing=self._smoothing)
            if not slot.is_empty:
                losses[slot.index] = loss.detach()
            # DeepSpeed averages over all slots of all ranks, the empty ones too.
            self._engine.backward(loss * (0.0 if slot.is_empty else self._plan.loss_scale))
            self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return StepResult(
            losses=losses,
            grad_norm=None if norm is None else float(norm),
            is_skipped=not self._engine.was_step_applied(),
        )

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """images: (B, 3, H, W). Returns (B, num_classes) fp32, in evaluation mode."""
        self._engine.eval()
        return self._engine(images, None).float()

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters, in the same order on every rank."""
        return self.module.named_parameters()

    def read(self, parameter: nn.Parameter, what: str) -> Tensor:
        """MASTER or one of MOMENTS of a parameter, whole, fp32; all ranks must call it."""
        if self._stage == 0:
            return self._plain(parameter, what)
        self._link_states()
        if what == MASTER:
            return self._deepspeed.utils.safe_get_full_fp32_param(parameter)
        return self._deepspeed.utils.safe_get_full_optimizer_state(parameter, what)

    def create_states(self, like: Tensor) -> None:
        """Let the optimizer make its moments, by a step of zero gradient at a rate of 0.

        like: (B, 3, H, W) images. ``write`` needs them; they exist only after one step.
        """
        self._engine.train()
        self._set_lr(0.0)
        for _ in range(self._plan.slots):
            self._engine.backward(self._engine(like, None).float().sum() * 0.0)
            self._engine.step()
        self._states_linked = False

    def write(self, parameter: nn.Parameter, what: str, value: Tensor) -> None:
        """Set MASTER (and the weight computed with) or one of MOMENTS; all ranks, whole values."""
        value = value.to(self.device)
        if self._stage == 0:
            self._plain(parameter, what).copy_(value)
        elif self._stage == 3:
            self._write_stage3(parameter, what, value)
        else:
            self._link_states()
            if what == MASTER:
                self._deepspeed.utils.safe_set_full_fp32_param(parameter, value)
            else:
                self._deepspeed.utils.safe_set_full_optimizer_state(parameter, value, what)
        if what == MASTER:
            with self._gathered(parameter):
                parameter.data.copy_(value)

    def set_update_count(self, updates: int) -> None:
        """How many updates the optimizer has made: its bias correction depends on it."""
        for state in self._inner_optimizer.state.values():
            if "step" in state:
                if isinstance(state["step"], Tensor):
                    state["step"].fill_(updates)
                else:
                    state["step"] = updates

    def _set_lr(self, lr: float) -> None:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr

    @property
    def _inner_optimizer(self) -> torch.optim.Optimizer:
        return getattr(self._engine.optimizer, "optimizer", self._engine.optimizer)

    def _gathered(self, parameter: nn.Parameter) -> Any:
        enabled = self._stage == 3
        return self._deepspeed.zero.GatheredParameters(
            [parameter], modifier_rank=0, enabled=enabled
        )

    def _link_states(self) -> None:
        # DeepSpeedZeroOptimizer links the moments when only its first group has any.
        optimizer = self._engine.optimizer
        if not self._states_linked and hasattr(optimizer, "_hp_optimizer_states_linked"):
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()
        self._states_linked = True

    def _undo_first_step(self) -> None:
        """Stage 0 in bf16: DeepSpeed makes the moments by a step, which decays the masters."""
        for weight, master in self._master_pairs():
            master.data.copy_(weight.data)
            self._inner_optimizer.state.pop(master, None)

    def _master_pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        optimizer = self._engine.optimizer
        if self._stage == 0 and hasattr(optimizer, "fp32_groups"):
            for weights, masters in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True):
                yield from zip(weights, masters, strict=True)

    def _plain(self, parameter: nn.Parameter, what: str) -> Tensor:
        """Stage 0: the tensor itself; under bf16 the masters lie beside the weights."""
        master = self._masters.get(id(parameter), parameter)
        return master.data if what == MASTER else self._inner_optimizer.state[master][what]

    def _write_stage3(self, parameter: nn.Parameter, what: str, value: Tensor) -> None:
        """Set this rank's part; DeepSpeed's setter refuses sizes that the ranks do not divide."""
        key = None if what == MASTER else what
        part, _ = self._engine.optimizer._get_fp32_opt_state_partition(
            parameter, release_swap_buffers=False, optim_state_key=key
        )
        padded = torch.zeros(part.numel() * self._plan.world_size, device=self.device)
        padded[: value.numel()] = value.flatten()
        rank = self._engine.optimizer._get_param_partition_rank(parameter)
        part.data.copy_(padded.narrow(0, part.numel() * rank, part.numel()))


def _import_deepspeed(device: str) -> Any:
    if device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed
    import deepspeed.ops
    import deepspeed.utils

    # A collective for inference that DeepSpeed would compile at the first start, for a minute
    # and with whatever Ctrl-C does to a compiler; training has no use for it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

    # DeepSpeed 0.19 calls names that torch 2.14 has renamed.
    warnings.filterwarnings("ignore", message="`torch.distributed", category=FutureWarning)
    return deepspeed


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """DeepSpeed speaks of itself on stdout and warns of CUDA where CPU is asked for."""
    loggers = [logging.getLogger(name) for name in ("DeepSpeed", "torch.utils.cpp_extension")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
