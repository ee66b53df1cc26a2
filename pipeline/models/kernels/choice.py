"""Which kernels compute a model's blocks, in which order of memory; imports no torch, no Triton."""

import importlib.util
import os
from typing import Literal

from pipeline.config import Config
from pipeline.errors import UserError


def choose_kernels(config: Config) -> Literal["torch", "triton"]:
    """What model.kernels means for this config on this machine.

    auto is triton where a GPU trains, Triton is installed, nothing else is asked for that
    excludes the kernels (compiled blocks, contiguous maps), and a stage has blocks that they can
    do. Raises UserError where triton is asked for and cannot be; that the config agrees with
    itself is the schema's to check.
    """
    wanted = config.model.kernels
    if wanted == "torch":
        return "torch"
    is_installed = importlib.util.find_spec("triton") is not None
    if wanted == "triton":
        if not is_installed:
            raise UserError(
                "model.kernels=triton, but Triton is not installed; pip install triton, or set "
                "model.kernels=auto"
            )
        # The interpreter is far too slow to train with, but right: for tests.
        if os.environ.get("TRITON_INTERPRET") != "1":
            check_kernels(config)
        return "triton"
    engine = config.engine
    is_better = (
        config.device == "cuda" and not engine.compile and engine.memory_format != "contiguous"
    )
    return "triton" if is_better and is_installed and config.model.suits_kernels else "torch"


def choose_order(config: Config) -> Literal["channels_last", "contiguous"] | None:
    """The order of a map's numbers in memory; None: as the loader gives images, on CPUs.

    auto is what the kernels in use know: PyTorch has no GroupNorm on CUDA that works in
    channels_last. Raises UserError as choose_kernels does.
    """
    if config.engine.memory_format != "auto":
        return config.engine.memory_format
    if config.device == "cpu":
        return None
    is_last = config.engine.compile or choose_kernels(config) == "triton"
    return "channels_last" if is_last else "contiguous"


def check_kernels(config: Config) -> None:
    """What can be said of model.kernels without the machine that trains; raises UserError."""
    if config.model.kernels == "triton" and config.device == "cpu":
        raise UserError(
            "model.kernels=triton needs device=cuda: Triton makes kernels for GPUs; set "
            "model.kernels=auto, which is torch on CPUs"
        )
