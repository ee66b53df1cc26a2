"""Settings of the optimizer, the length and batch of a training, and the engine."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.schema.section import (
    Count,
    Fraction,
    Free,
    Manner,
    NotNegative,
    Positive,
    Section,
)


class OptimConfig(Section):
    """Optimizer and learning-rate schedule, in timm's words."""

    opt: str = "adamw"
    """Optimizer, a name of timm.optim."""
    lr_base: Positive = 1e-3
    """Peak learning rate at a global batch of lr_base_size; scaled linearly."""
    lr_base_size: Count = 1024
    """Global batch that lr_base is meant for."""
    weight_decay: NotNegative = 0.05
    """Weight decay; none on biases and 1-D parameters."""
    opt_betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.9, 0.999)
    """Decay of the two moments."""
    opt_eps: Positive = 1e-8
    """Epsilon of the optimizer."""
    clip_grad: Positive | None = None
    """Largest gradient norm; null is off."""
    model_ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of a moving average of the weights, evaluated beside them; null is off."""
    sched: Literal["cosine"] = "cosine"
    """Schedule of the learning rate."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    """Epochs from warmup_lr to the peak; part of train.epochs."""
    warmup_lr: NotNegative = 1e-6
    """First learning rate of the warm-up."""
    min_lr: NotNegative = 1e-5
    """Last learning rate of the cosine."""
    cooldown_epochs: Annotated[int, Field(ge=0)] = 10
    """Epochs at min_lr, after train.epochs."""
    sched_on_updates: bool = False
    """Step the schedule every update instead of every epoch."""


class TrainConfig(Section):
    """Length and batch of the training."""

    epochs: Count = 300
    """Epochs of the schedule, warm-up included, cool-down not."""
    global_batch: Count = 4096
    """Images per optimizer step, over all ranks."""
    micro_batch: Annotated[Count, Manner] = 64
    """Images that one rank computes at once; the unit of determinism."""
    max_steps: Annotated[Count | None, Free] = None
    """Stop after this many optimizer steps; the schedule stays that of all epochs."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.global_batch % self.micro_batch:
            below = self.global_batch // self.micro_batch * self.micro_batch
            options = [str(v) for v in (below, below + self.micro_batch) if v]
            raise ValueError(
                f"global_batch={self.global_batch} is not a multiple of "
                f"micro_batch={self.micro_batch}; use {' or '.join(options)}"
            )
        return self


class EngineConfig(Section):
    """DeepSpeed and the machine's numbers."""

    zero_stage: Annotated[Literal[0, 1, 2, 3], Free] = 1
    """ZeRO stage: what is split over the ranks (1 optimizer state, 2 gradients, 3 parameters)."""
    dtype: Annotated[Literal["bf16", "fp32"], Manner] = "bf16"
    """Type of weights and activations; the master weights are fp32 in both."""
    cpu_threads: Annotated[Count, Manner] = 1
    """Threads per rank of torch on CPU; sums depend on it."""
    cpu_tasks: Annotated[Count, Free] = 1
    """Processes per node where device is cpu; on GPUs it is one per GPU."""
    grad_checkpointing: Annotated[bool, Free] = False
    """Keep only the blocks' inputs for the backward pass and compute the rest again."""
    compile: Annotated[bool, Manner] = False
    """Compile the model's blocks with torch.compile at the first step."""
    compile_mode: Annotated[Literal["default", "max-autotune"], Manner] = "default"
    """Read where compile is true; max-autotune times kernels, so that machines pick others."""
    memory_format: Annotated[Literal["auto", "channels_last", "contiguous"], Manner] = "auto"
    """Order of a map's numbers in memory; auto is the one that should be faster."""
    deterministic: Annotated[bool, Manner] = True
    """On a GPU, use only algorithms that give the same bits every time."""
    max_skipped_steps: Annotated[Count, Manner] = 10
    """Steps in a row with inf or NaN gradients that bring the last checkpoint's weights back."""
    max_rollbacks: Annotated[int, Field(ge=0), Free] = 3
    """Such returns; where another would be needed, the run ends with exit code 5."""
    collective_timeout_s: Annotated[Count, Free] = 600
    """How long a rank may keep the others waiting before it is named and the job ends."""

    @model_validator(mode="after")
    def _no_choice_by_time(self) -> Self:
        if self.compile and self.compile_mode == "max-autotune" and self.deterministic:
            raise ValueError(
                "compile_mode=max-autotune picks kernels by their time, which no two starts need "
                "measure alike, and deterministic=true forbids it; use compile_mode=default, or "
                "deterministic=false"
            )
        return self


class ElasticConfig(Section):
    """Nodes that a Slurm job may run on; the training is the same on any of them."""

    min_nodes: Annotated[Count | None, Free] = None
    """Fewest nodes to start or go on with, where others are lost or taken; null is --nodes."""
    max_nodes: Annotated[Count | None, Free] = None
    """Most nodes to take; null is --nodes."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_nodes and self.max_nodes and self.min_nodes > self.max_nodes:
            raise ValueError(
                f"min_nodes={self.min_nodes} must not be more than max_nodes={self.max_nodes}; "
                "swap them"
            )
        return self
