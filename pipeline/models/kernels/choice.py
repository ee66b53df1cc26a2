"""Which kernels compute a model's blocks; imports neither torch nor Triton."""

import importlib.util
import os
from typing import Literal

from pipeline.config import Config
from pipeline.errors import UserError


def choose_kernels(config: Config) -> Literal["torch", "triton"]:
    """What model.kernels means for this config on this machine.

    auto is triton where a GPU trains, Triton is installed, nothing compiles the blocks, and a
    stage has blocks that the kernels can do. Raises UserError where triton is asked for and
    cannot be; that its blocks suit is the schema's to check.
    """
    wanted = config.model.kernels
    if wanted == "torch":
        return "torch"
    is_installed = importlib.util.find_spec("triton") is not None
    if wanted == "triton":
        _refuse(config, is_installed)
        return "triton"
    is_better = config.device == "cuda" and not config.engine.compile
    return "triton" if is_better and is_installed and config.model.suits_kernels else "torch"


def _refuse(config: Config, is_installed: bool) -> None:
    if not is_installed:
        raise UserError(
            "model.kernels=triton, but Triton is not installed; pip install triton, or set "
            "model.kernels=auto"
        )
    # The interpreter is far too slow to train with, but right: for tests.
    if config.device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise UserError(
            "model.kernels=triton needs device=cuda: Triton makes kernels for GPUs; set "
            "model.kernels=auto, which is torch on CPUs"
        )
