"""Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391): where a model sees what it answers."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pipeline.errors import UserError
from pipeline.models.build import TimmModel
from pipeline.models.metaformer import MetaFormer


def grad_cam(model: MetaFormer | TimmModel, images: Tensor, classes: Tensor) -> Tensor:
    """How much each place speaks for a class, by the maps of the last stage.

    images: (B, 3, H, W) normalised; classes: (B,). Returns (B, H, W) fp32 in 0..1, 1 at the
    strongest place; all 0 where nothing speaks for the class. Raises UserError where timm does
    not say which module gives the last maps, or they are not laid out as known.
    """
    kept: list[Tensor] = []

    def begin_graph(maps: Tensor) -> Tensor:
        # Weights are frozen, so it begins here; what follows may change a copy in place.
        kept.append(maps.detach().requires_grad_())
        return kept[0].clone()

    def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return begin_graph(inputs[0])

    def behind(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return begin_graph(output)

    layer, channels = _last_maps(model)
    if _prefix_tokens(model):
        # A class token reads the others in the last block alone; behind it they say nothing.
        handle = layer.register_forward_pre_hook(before)
    else:
        handle = layer.register_forward_hook(behind)
    try:
        with torch.enable_grad():
            logits = model(images).float()
            chosen = logits.gather(1, classes[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, kept)
    finally:
        handle.remove()
    maps, gradients = (_as_maps(t.detach().float(), channels, model) for t in (kept[0], gradient))
    # Equations 1 and 2: a weight per channel, the mean of its gradient; then what is positive.
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    cam = (weights * maps).sum(dim=1, keepdim=True).relu()
    cam = interpolate(cam, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return cam / cam.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)


def _last_maps(model: MetaFormer | TimmModel) -> tuple[nn.Module, int]:
    """The module whose output goes into the head, and its channels."""
    if isinstance(model, MetaFormer):
        return model.stages[-1], model.head.fc.in_features
    stages = getattr(model.net, "feature_info", None)
    if not stages:
        raise UserError(f"--cam: timm does not say where {type(model.net).__name__} has its maps")
    last = stages[-1]
    return model.net.get_submodule(last["module"]), last["num_chs"]


def _prefix_tokens(model: MetaFormer | TimmModel) -> int:
    """Tokens before those of the picture: of the class, of registers."""
    return getattr(model.net, "num_prefix_tokens", 0) if isinstance(model, TimmModel) else 0


def _as_maps(output: Tensor, channels: int, model: MetaFormer | TimmModel) -> Tensor:
    """(B, C, h, w) of maps in either layout of timm's, or of a square of tokens."""
    if output.ndim == 4 and output.shape[1] == channels:
        return output
    if output.ndim == 4 and output.shape[3] == channels:
        return output.permute(0, 3, 1, 2)
    if output.ndim == 3:
        tokens = output[:, _prefix_tokens(model) :]
        side = round(tokens.shape[1] ** 0.5)
        if side * side == tokens.shape[1]:
            return tokens.mT.unflatten(2, (side, side))
    raise UserError(f"--cam: the last maps have shape {tuple(output.shape)}, which is no picture")
