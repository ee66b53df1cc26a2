"""How a model is computed: by which kernels, compiled or not, in which order of memory."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.models.kernels.choice import choose_kernels, choose_order
from pipeline.models.metaformer import MetaFormer

_MODES = {"default": "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""torch.compile's words for engine.compile_mode. No CUDA graphs: what they leave behind is
overwritten by the next replay, and DeepSpeed and autograd keep gradients of earlier ones."""
_ORDERS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
_MOST_GRAPHS = 64
"""Of one block's code: by stage, in training and in evaluation. torch stops at 8."""


def set_computing(model: nn.Module, config: Config) -> None:
    """Set the kernels and compile, as the config says; weights and names stay as they are.

    Raises UserError where the config asks for what cannot be.
    """
    kernels = choose_kernels(config)
    if isinstance(model, MetaFormer) and kernels == "triton":
        model.use_kernels(kernels)
    compile_blocks(model, config)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The blocks that a model repeats: what lies in its modules named ``blocks``; may be none."""
    return [
        block
        for name, module in model.named_modules()
        if name.rsplit(".", 1)[-1] == "blocks"
        for block in module.children()
    ]


class ImageForm:
    """What a model takes images as; made once from a config."""

    def __init__(self, config: Config):
        self._memory_format = memory_format(config)
        # A compiled model is compiled for one batch size.
        self._batch_size = config.evaluate.batch_size if config.engine.compile else 0

    def arranged(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in the order of memory that all maps then take from them."""
        if self._memory_format is None:
            return images
        return images.contiguous(memory_format=self._memory_format)

    def evaluated(self, model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """images: (B, 3, H, W). Returns the model's logits (B, num_classes), fp32.

        A compiled model gets a smaller batch filled up with zeros.
        """
        count = len(images)
        if count < self._batch_size:
            images = pad(images, (0, 0, 0, 0, 0, 0, 0, self._batch_size - count))
        return model(self.arranged(images))[:count].float()


def memory_format(config: Config) -> torch.memory_format | None:
    """The order that choose_order names; None: as the loader gives images, on CPUs.

    Weights are left alone: ZeRO makes them anew, and maps follow the images.
    """
    order = choose_order(config)
    return None if order is None else _ORDERS[order]


def compile_blocks(model: nn.Module, config: Config) -> None:
    """Compile each block on its own, where engine.compile says so.

    Blocks of one shape share what is compiled, which takes seconds instead of minutes; their
    gradients are there block by block, so that reducing them overlaps the backward pass; and
    DeepSpeed's hooks, which gather the weights in stage 3, stay outside.
    """
    if not config.engine.compile:
        return
    blocks = blocks_of(model)
    if not blocks and config.engine.zero_stage == 3:
        raise UserError(
            f"engine.compile=true with engine.zero_stage=3 needs a model of blocks, which "
            f"model.name={config.model.name} is not; use engine.zero_stage=1"
        )
    # Without this, PyTorch computes on uncompiled and says so in a warning alone.
    torch._dynamo.config.recompile_limit = _MOST_GRAPHS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for block in blocks or [model]:
        block.forward = torch.compile(
            block.forward, mode=_MODES[config.engine.compile_mode], dynamic=False
        )
