"""Weights on disk to a model that computes."""

import torch
from torch import Tensor, nn

from pipeline.checkpoint.weights import weights_from
from pipeline.config import Config
from pipeline.data.mix import DTYPES
from pipeline.inference.trained import Trained
from pipeline.models.build import TimmModel, build_model
from pipeline.models.kernels.choice import choose_kernels
from pipeline.models.metaformer import MetaFormer
from pipeline.models.weights import load_weights


def load_model(trained: Trained) -> MetaFormer | TimmModel:
    """The model in evaluation mode, fp32 on the CPU; the weights' moving average if one was kept.

    Raises UserError where the weights are another model's or of other classes, with the names
    that differ; DataError where a checkpoint is damaged.
    """
    config = trained.config
    model = build_model(config.model, config.seed, config.augment.img_size)
    state = weights_from(trained.weights)
    load_weights(model, state, str(trained.weights), config.model.num_classes)
    return model.eval().requires_grad_(False)


def ready(model: nn.Module, config: Config, device: torch.device) -> nn.Module:
    """The model on the device, its parameters in engine.dtype: the numbers that training had.

    Its blocks are computed by the config's kernels. Raises UserError where these cannot be.
    """
    if isinstance(model, MetaFormer):
        model.use_kernels(choose_kernels(config))
    dtype = DTYPES[config.engine.dtype]
    # Parameters alone, as the engine does: buffers such as running statistics stay fp32.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model.to(device)


@torch.inference_mode()
def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """images: (B, 3, H, W) normalised. Returns (B, num_classes) fp32."""
    return model(images).float()
