"""Config to model; only importer of timm's registry."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import psutil
import timm
import torch
from numpy.typing import NDArray
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from pipeline.config.schema import ModelConfig
from pipeline.errors import UserError
from pipeline.models import follow_up
from pipeline.models.batch_norm import per_step_batch_norms
from pipeline.models.memory import check_memory
from pipeline.models.metaformer import MetaFormer
from pipeline.models.stages import plan_stages


class TimmModel(nn.Module):
    """A timm model behind the same call; its drop path draws from torch's generator."""

    drop_path_rates: NDArray[np.float64] = np.zeros(0)

    def __init__(self, net: nn.Module, name: str):
        super().__init__()
        self.net = net
        self._name = name

    def forward(self, images: Tensor, drop_path_scales: Tensor | None = None) -> Tensor:
        assert drop_path_scales is None
        return self.net(images)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Let timm's model keep less for the backward pass. Raises UserError where it cannot."""
        try:
            self.net.set_grad_checkpointing(enable)  # pyright: ignore[reportCallIssue]
        except (AttributeError, AssertionError, NotImplementedError) as error:
            raise UserError(
                f"model.name={self._name} has no gradient checkpointing ({error}); turn it off"
            ) from None


def build_model(config: ModelConfig, seed: int, img_size: int) -> MetaFormer | TimmModel:
    """Build a model with weights drawn from ``seed``, fp32 on the CPU.

    Raises UserError where timm has no model of that name or cannot build it so, where mixers
    do not fit into memory, and where ``config.freeze`` names nothing or everything.
    """
    if torch.get_default_device().type == "cpu":
        check_memory(config, img_size, 1, "fp32", psutil.virtual_memory().available)
    # ZeRO's ranks must start from equal weights, whatever has been drawn before.
    torch.manual_seed(seed)
    if config.name == "metaformer":
        model = _build_metaformer(config, seed, img_size)
    elif config.name in follow_up.NAMES:
        net = follow_up.build_follow_up(
            config.name, config.num_classes, config.drop_path, img_size, seed
        )
        model = TimmModel(net, config.name)
    else:
        model = TimmModel(_build_timm(config, img_size), config.name)
    per_step_batch_norms(model)
    freeze(model, config.freeze)
    return model


def freeze(model: MetaFormer | TimmModel, patterns: Sequence[str]) -> None:
    """Keep parameters whose names match a pattern (``stem.*``) as they are.

    Raises UserError for a pattern that matches nothing, and where nothing is left to train.
    """
    parameters = dict(weights_of(model).named_parameters())
    for pattern in patterns:
        matching = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matching:
            known = dict.fromkeys([_group(name) for name in parameters] + list(parameters))
            near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
            raise UserError(
                f"model.freeze: {pattern} matches no parameter"
                + (f"; did you mean {' or '.join(near)}?" if near else "")
                + f" Names look like {next(iter(parameters))}"
            )
        for name in matching:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise UserError(
            f"model.freeze={list(patterns)} leaves no parameter to train; leave out some"
        )


def _group(name: str) -> str:
    """``stages.0.blocks.1.mlp.fc1.bias`` to the pattern of its stage, ``stages.0.*``."""
    parts = name.split(".")
    return ".".join([*parts[: 2 if parts[1:2] and parts[1].isdigit() else 1], "*"])


def _build_metaformer(config: ModelConfig, seed: int, img_size: int) -> MetaFormer:
    own = config.metaformer
    return MetaFormer(
        plans=plan_stages(own, img_size),
        act=own.act,
        residual=own.residual,
        mlp=own.mlp,
        layer_scale_init=own.layer_scale_init,
        num_classes=config.num_classes,
        drop_path=config.drop_path,
        seed=seed,
    )


def _build_timm(config: ModelConfig, img_size: int) -> nn.Module:
    if config.name not in timm.list_models():
        near = difflib.get_close_matches(config.name, follow_up.NAMES, n=2, cutoff=0.8)
        near += timm.list_models(f"*{config.name.split('_')[0]}*")[:8]
        raise UserError(
            f"model.name={config.name}: timm {timm.__version__} has no such model; "
            + (f"near ones: {', '.join(near)}" if near else "`timm.list_models()` names them")
        )
    pretrained = get_pretrained_cfg(config.name)
    # Models with learned positions are built for one size; others take any and know no such word.
    size: dict[str, Any] = (
        {"img_size": img_size} if pretrained and pretrained.fixed_input_size else {}
    )
    try:
        return timm.create_model(
            config.name, num_classes=config.num_classes, drop_path_rate=config.drop_path, **size
        )
    except (TypeError, RuntimeError, ValueError, AssertionError) as error:
        raise UserError(f"model.name={config.name} at {img_size} px: timm says {error}") from error


def weights_of(model: MetaFormer | TimmModel) -> nn.Module:
    """The module whose state dict others load: without our wrapper's prefix."""
    return model.net if isinstance(model, TimmModel) else model


def no_weight_decay(model: nn.Module) -> frozenset[str]:
    """Names of parameters that the model itself exempts from weight decay."""
    inner = weights_of(model) if isinstance(model, TimmModel) else model
    prefix = "net." if isinstance(model, TimmModel) else ""
    exempt = getattr(inner, "no_weight_decay", None)
    return frozenset(prefix + name for name in (exempt() if exempt else ()))
