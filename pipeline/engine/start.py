"""Importing and starting DeepSpeed, which would speak of itself and compile what nobody uses."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from pipeline.config import Config
from pipeline.engine.settings import deepspeed_config
from pipeline.models.computing import blocks_of
from pipeline.plan import Plan


def start(
    model: nn.Module, optimizer: torch.optim.Optimizer, config: Config, plan: Plan
) -> tuple[Any, Any]:
    """The module deepspeed and its engine around the model."""
    with quiet():
        deepspeed = _imported(config.device)
        if config.engine.zero_stage == 3:
            # A block's weights are gathered at once and before its forward pass, which may be
            # compiled or a kernel and calls none of the modules inside.
            for block in blocks_of(model):
                deepspeed.utils.set_z3_leaf_module(block, True)
        if config.device == "cuda":
            # DeepSpeed makes this the device's number, which is another one where a scheduler
            # shows each rank its own GPU alone.
            os.environ["LOCAL_RANK"] = str(torch.cuda.current_device())
        engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            config=deepspeed_config(config, plan),
            dist_init_required=False,
        )
    if hasattr(engine.optimizer, "check_overflow"):
        # A gradient that is not finite makes the norm so, which DeepSpeed looks at anyway: this
        # would read all gradients once more, and wait for the GPU a second time in each step.
        engine.optimizer.check_overflow = lambda partition_gradients=True: None
    return deepspeed, engine


def _imported(device: str) -> Any:
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
def quiet() -> Iterator[None]:
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
