"""The token mixers of Table 5, each from a map (B, C, H, W) to one of the same shape."""

import torch
from timm.models import metaformer as timm_metaformer
from torch import Tensor, nn

from pipeline.config.schema.model import ATTENTION_HEAD_DIM
from pipeline.errors import UserError
from pipeline.models.stages import StagePlan


def token_mixer(stage: StagePlan, generator: torch.Generator) -> nn.Module:
    """A mixer for the stage; ``generator`` (on the CPU) draws the random matrices alone."""
    kind = stage.token_mixer
    if kind == "pooling":
        return timm_metaformer.Pooling(stage.pool_size)
    if kind == "identity":
        return nn.Identity()
    if kind == "random":
        return RandomMixing(stage.side, generator)
    if kind == "depthwise_conv":
        return DepthwiseConv(stage.dim)
    if kind == "attention":
        return Attention(stage.dim)
    assert kind == "spatial_fc", kind
    return SpatialFc(stage.side)


class RandomMixing(nn.Module):
    """Each position becomes a mean of all, weighted by a row of a frozen random matrix.

    The matrix is the softmax over rows of uniform draws from [0, 1), fp32 in whatever dtype the
    model computes.
    """

    random_matrix: Tensor
    """(N, N) fp32, N = side × side."""

    def __init__(self, side: int, generator: torch.Generator):
        super().__init__()
        self.side = side
        draws = torch.empty(side * side, side * side).uniform_(generator=generator)
        self.register_buffer("random_matrix", draws.softmax(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        require_side(x, self.side, "token_mixers=random")
        mixed = self.random_matrix.to(x.dtype) @ x.flatten(2).mT
        return mixed.mT.reshape(x.shape)


class DepthwiseConv(nn.Module):
    """A 3 × 3 convolution per channel, with bias as all convolutions of the paper."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Attention(timm_metaformer.Attention):
    """Self-attention over positions: heads of 32 channels, qkv without bias, projection with."""

    def __init__(self, dim: int):
        super().__init__(dim, head_dim=ATTENTION_HEAD_DIM, qkv_bias=False, proj_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(2).mT).mT.reshape(x.shape)


class SpatialFc(nn.Module):
    """One linear layer over positions, without bias, the same for all channels."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side
        self.fc = nn.Linear(side * side, side * side, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        require_side(x, self.side, "token_mixers=spatial_fc")
        return self.fc(x.flatten(2)).reshape(x.shape)


def require_side(x: Tensor, side: int, what: str) -> None:
    """Raise UserError where the map x (B, C, H, W) is not side × side."""
    if x.shape[2:] != (side, side):
        raise UserError(
            f"{what} was built for maps of {side} × {side}, the images give "
            f"{x.shape[2]} × {x.shape[3]}; set augment.img_size to their side, or use a mixer "
            "that takes any size (pooling, identity, depthwise_conv)"
        )
