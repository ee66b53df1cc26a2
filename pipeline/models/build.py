"""Config to model; only importer of timm's registry."""

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.config.schema import ModelConfig
from pipeline.errors import UserError
from pipeline.models.metaformer import MetaFormer


class TimmModel(nn.Module):
    """A timm model behind the same call; its drop path draws from torch's generator."""

    drop_path_rates: NDArray[np.float64] = np.zeros(0)

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, drop_path_scales: Tensor | None = None) -> Tensor:
        assert drop_path_scales is None
        return self.net(images)


def build_model(config: ModelConfig, seed: int, img_size: int) -> MetaFormer | TimmModel:
    """Build a model with weights drawn from ``seed``, fp32 on the CPU.

    Raises UserError where timm has no model of that name or cannot build it so.
    """
    # ZeRO's ranks must start from equal weights, whatever has been drawn before.
    torch.manual_seed(seed)
    if config.name == "metaformer":
        return _build_metaformer(config)
    if config.name not in timm.list_models():
        near = timm.list_models(f"*{config.name.split('_')[0]}*")[:8]
        raise UserError(
            f"model.name={config.name}: timm {timm.__version__} has no such model; "
            + (f"near ones: {', '.join(near)}" if near else "`timm.list_models()` names them")
        )
    try:
        net = timm.create_model(
            config.name, num_classes=config.num_classes, drop_path_rate=config.drop_path
        )
    except (TypeError, RuntimeError, ValueError) as error:
        raise UserError(f"model.name={config.name} at {img_size} px: timm says {error}") from error
    return TimmModel(net)


def _build_metaformer(config: ModelConfig) -> MetaFormer:
    own = config.metaformer
    mixers = own.token_mixers
    return MetaFormer(
        depths=own.depths,
        dims=own.dims,
        token_mixers=[mixers] * len(own.depths) if isinstance(mixers, str) else mixers,
        pool_size=own.pool_size,
        layer_scale_init=own.layer_scale_init,
        num_classes=config.num_classes,
        drop_path=config.drop_path,
    )


def weights_of(model: MetaFormer | TimmModel) -> nn.Module:
    """The module whose state dict others load: without our wrapper's prefix."""
    return model.net if isinstance(model, TimmModel) else model


def no_weight_decay(model: nn.Module) -> frozenset[str]:
    """Names of parameters that the model itself exempts from weight decay."""
    inner = weights_of(model) if isinstance(model, TimmModel) else model
    prefix = "net." if isinstance(model, TimmModel) else ""
    exempt = getattr(inner, "no_weight_decay", None)
    return frozenset(prefix + name for name in (exempt() if exempt else ()))
