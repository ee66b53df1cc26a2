"""The paper's MetaFormer (Yu et al., arXiv 2111.11418), with timm's names in its state dict.

Differences to timm's poolformer, which is not quite the paper's model: the head normalises
over C, H and W before the mean over H and W, and patch embeddings keep PyTorch's default init.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import GroupNorm1, Mlp, trunc_normal_
from timm.models.metaformer import Pooling
from torch import Tensor, nn

_NORM_EPS = 1e-5


def token_mixer(kind: str, pool_size: int) -> nn.Module:
    """The module that mixes tokens: (B, C, H, W) to the same shape."""
    if kind == "pooling":
        return Pooling(pool_size)
    if kind == "identity":
        return nn.Identity()
    raise ValueError(f"unknown token mixer {kind!r}")


class LayerScale(nn.Module):
    """Multiplies (B, C, H, W) with one learned factor per channel."""

    def __init__(self, dim: int, init: float):
        super().__init__()
        self.scale = nn.Parameter(torch.full((dim,), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None]


class Block(nn.Module):
    """Two residual branches: the token mixer, then the channel MLP."""

    def __init__(self, dim: int, mixer: str, pool_size: int, layer_scale_init: float):
        super().__init__()
        self.norm1 = GroupNorm1(dim, eps=_NORM_EPS)
        self.token_mixer = token_mixer(mixer, pool_size)
        self.layer_scale1 = LayerScale(dim, layer_scale_init)
        self.norm2 = GroupNorm1(dim, eps=_NORM_EPS)
        self.mlp = Mlp(dim, 4 * dim, use_conv=True)
        self.layer_scale2 = LayerScale(dim, layer_scale_init)

    def forward(self, x: Tensor, branch_scales: Tensor | None) -> Tensor:
        """x: (B, C, H, W); branch_scales: (B, 2) of drop path, None is no drop."""
        branch = self.layer_scale1(self.token_mixer(self.norm1(x)))
        x = x + (
            branch if branch_scales is None else branch * branch_scales[:, 0, None, None, None]
        )
        branch = self.layer_scale2(self.mlp(self.norm2(x)))
        return x + (
            branch if branch_scales is None else branch * branch_scales[:, 1, None, None, None]
        )


class PatchEmbedding(nn.Module):
    """A strided convolution without norm."""

    def __init__(self, in_dim: int, dim: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.conv = nn.Conv2d(in_dim, dim, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Stage(nn.Module):
    """An optional downsampling by 2, then blocks of one width."""

    def __init__(self, in_dim: int, dim: int, blocks: Sequence[Block]):
        super().__init__()
        downsamples = in_dim != 0
        self.downsample = PatchEmbedding(in_dim, dim, 3, 2, 1) if downsamples else nn.Identity()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, branch_scales: Tensor | None) -> Tensor:
        """branch_scales: (B, 2 × blocks) or None."""
        x = self.downsample(x)
        for i, block in enumerate(self.blocks):
            x = block(x, None if branch_scales is None else branch_scales[:, 2 * i : 2 * i + 2])
        return x


class Head(nn.Module):
    """GroupNorm(1) on the map, mean over H and W, linear."""

    def __init__(self, dim: int, num_classes: int):
        super().__init__()
        self.norm = GroupNorm1(dim, eps=_NORM_EPS)
        self.fc = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(x).mean((2, 3)))


class MetaFormer(nn.Module):
    """Images (B, 3, H, W) to logits (B, num_classes).

    Drop path takes its per-image scales as an argument; the module draws nothing.
    """

    def __init__(
        self,
        depths: Sequence[int],
        dims: Sequence[int],
        token_mixers: Sequence[str],
        pool_size: int,
        layer_scale_init: float,
        num_classes: int,
        drop_path: float,
    ):
        super().__init__()
        self.depths = tuple(depths)
        blocks = sum(depths)
        # Both branches of a block share its rate; it grows linearly over the blocks.
        self.drop_path_rates: NDArray[np.float64] = np.linspace(0, drop_path, blocks).repeat(2)
        self.stem = PatchEmbedding(3, dims[0], 7, 4, 2)
        self.stages = nn.ModuleList(
            Stage(
                in_dim=dims[i - 1] if i else 0,
                dim=dims[i],
                blocks=[
                    Block(dims[i], token_mixers[i], pool_size, layer_scale_init)
                    for _ in range(depth)
                ],
            )
            for i, depth in enumerate(depths)
        )
        self.head = Head(dims[-1], num_classes)
        self._init_weights()

    def forward(self, images: Tensor, drop_path_scales: Tensor | None = None) -> Tensor:
        """drop_path_scales: (B, 2 × blocks), 0 or 1 / (1 - rate) per branch; None in evaluation."""
        x = self.stem(images)
        start = 0
        for depth, stage in zip(self.depths, self.stages, strict=True):
            end = start + 2 * depth
            x = stage(x, None if drop_path_scales is None else drop_path_scales[:, start:end])
            start = end
        return self.head(x)

    def _init_weights(self) -> None:
        for name, module in self.named_modules():
            # Patch embeddings keep PyTorch's default, as in the original.
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and ".mlp." in name):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
