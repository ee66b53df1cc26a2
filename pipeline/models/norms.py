"""The norms of Table 5, each over a map (B, C, H, W)."""

from timm.layers import GroupNorm1, LayerNorm2d
from torch import nn

# PyTorch's default; timm's layers would take 1e-6.
_EPS = 1e-5


def norm(kind: str, dim: int) -> nn.Module:
    """The norm of that name for ``dim`` channels; all but none have a weight and a bias of them.

    group_norm has one group: mean and variance over C, H and W (the paper's "modified layer
    normalisation"). layer_norm is over C alone, batch_norm over B, H and W.
    """
    if kind == "group_norm":
        return GroupNorm1(dim, eps=_EPS)
    if kind == "layer_norm":
        return LayerNorm2d(dim, eps=_EPS)
    if kind == "batch_norm":
        return nn.BatchNorm2d(dim, eps=_EPS)
    assert kind == "none", kind
    return nn.Identity()
