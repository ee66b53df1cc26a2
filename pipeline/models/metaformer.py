"""The paper's MetaFormer (Yu et al., arXiv 2111.11418), with timm's names in its state dict.

Differences to timm's poolformer, which is not quite the paper's model: the head normalises
the map before the mean over H and W, and patch embeddings keep PyTorch's default init.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import Mlp, trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.config.schema.model import Activation
from pipeline.models.norms import norm
from pipeline.models.stages import StagePlan
from pipeline.models.token_mixers import require_side, token_mixer

if TYPE_CHECKING:
    # Triton comes with them.
    from pipeline.models.kernels.fused_block import Parts
    from pipeline.models.kernels.statistics import Statistics

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}


class LayerScale(nn.Module):
    """Multiplies (B, C, H, W) with one learned factor per channel."""

    def __init__(self, dim: int, init: float):
        super().__init__()
        self.scale = nn.Parameter(torch.full((dim,), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None]


class Block(nn.Module):
    """Two residual branches: the token mixer, then the channel MLP.

    mlp None is the ablation without it: the identity in its place, norm and scale kept.
    """

    def __init__(
        self,
        dim: int,
        kind_of_norm: str,
        mixer: nn.Module,
        mlp: nn.Module | None,
        layer_scale_init: float,
        residual: bool,
    ):
        super().__init__()
        self.residual = residual
        self.norm1 = norm(kind_of_norm, dim)
        self.token_mixer = mixer
        self.layer_scale1 = LayerScale(dim, layer_scale_init)
        self.norm2 = norm(kind_of_norm, dim)
        self.mlp = mlp or nn.Identity()
        self.layer_scale2 = LayerScale(dim, layer_scale_init)
        self.fused: Callable[..., tuple[Tensor, Statistics | None]] | None = None

    def forward(
        self, x: Tensor, branch_scales: Tensor | None, statistics: "Statistics | None" = None
    ) -> "tuple[Tensor, Statistics | None]":
        """x: (B, C, H, W); branch_scales: (B, 2) of drop path, None is no drop.

        statistics: of x, where a kernel has made them. Returns the map, and its statistics
        likewise.
        """
        first, second = (None, None) if branch_scales is None else branch_scales.unbind(1)
        if self.fused is not None:
            return self.fused(self, x, (first, second), statistics)
        x = self._join(x, self.layer_scale1(self.token_mixer(self.norm1(x))), first)
        return self.mlp_branch(x, second), None

    def mlp_branch(self, x: Tensor, scales: Tensor | None) -> Tensor:
        """The second branch by PyTorch, added to x; scales: (B,) of drop path."""
        return self._join(x, self.layer_scale2(self.mlp(self.norm2(x))), scales)

    def _join(self, x: Tensor, branch: Tensor, scales: Tensor | None) -> Tensor:
        if scales is not None:
            branch = branch * scales[:, None, None, None]
        return x + branch if self.residual else branch


class PatchEmbedding(nn.Module):
    """A strided convolution without norm."""

    def __init__(self, in_dim: int, dim: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.conv = nn.Conv2d(in_dim, dim, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Stage(nn.Module):
    """A downsampling by 2 (not in the first), perhaps positions, then blocks of one width."""

    def __init__(self, in_dim: int | None, plan: StagePlan, blocks: Sequence[Block]):
        super().__init__()
        self.side = plan.side
        self.suits_kernels = plan.suits_kernels
        self.grad_checkpointing = False
        self.downsample = (
            nn.Identity() if in_dim is None else PatchEmbedding(in_dim, plan.dim, 3, 2, 1)
        )
        self.pos_embed = (
            nn.Parameter(torch.zeros(1, plan.dim, plan.side, plan.side))
            if plan.has_pos_embed
            else None
        )
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, branch_scales: Tensor | None) -> Tensor:
        """branch_scales: (B, 2 × blocks) or None."""
        x = self.downsample(x)
        if self.pos_embed is not None:
            require_side(x, self.side, "the position embedding of token_mixers=attention")
            x = x + self.pos_embed
        statistics = None
        for i, block in enumerate(self.blocks):
            scales = None if branch_scales is None else branch_scales[:, 2 * i : 2 * i + 2]
            if self.grad_checkpointing and torch.is_grad_enabled():
                # A block draws nothing, so there is no generator to restore.
                x, statistics = checkpoint(
                    block, x, scales, statistics, use_reentrant=False, preserve_rng_state=False
                )
            else:
                x, statistics = block(x, scales, statistics)
        return x


class Head(nn.Module):
    """Norm of the map, mean over H and W, linear."""

    def __init__(self, dim: int, kind_of_norm: str, num_classes: int):
        super().__init__()
        self.norm = norm(kind_of_norm, dim)
        self.fc = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(x).mean((2, 3)))


class MetaFormer(nn.Module):
    """Images (B, 3, H, W) to logits (B, num_classes).

    Drop path takes its per-image scales as an argument; the module draws nothing. Random
    matrices come from ``seed`` by a generator of their own, other weights from torch's.
    """

    def __init__(
        self,
        plans: Sequence[StagePlan],
        act: Activation,
        residual: bool,
        mlp: bool,
        layer_scale_init: float,
        num_classes: int,
        drop_path: float,
        seed: int,
    ):
        super().__init__()
        self.depths = tuple(plan.depth for plan in plans)
        self._act: Activation = act
        # Both branches of a block share its rate; it grows linearly over the blocks.
        self.drop_path_rates: NDArray[np.float64] = np.linspace(
            0, drop_path, sum(self.depths)
        ).repeat(2)
        generator = torch.Generator().manual_seed(seed)
        channel_mlp = partial(Mlp, act_layer=_ACTIVATIONS[act], use_conv=True)

        def block(plan: StagePlan) -> Block:
            return Block(
                plan.dim,
                plan.norm,
                token_mixer(plan, generator),
                channel_mlp(plan.dim, 4 * plan.dim) if mlp else None,
                layer_scale_init,
                residual,
            )

        self.stem = PatchEmbedding(3, plans[0].dim, 7, 4, 2)
        self.stages = nn.ModuleList(
            Stage(plans[i - 1].dim if i else None, plan, [block(plan) for _ in range(plan.depth)])
            for i, plan in enumerate(plans)
        )
        self.head = Head(plans[-1].dim, plans[-1].norm, num_classes)
        self._init_weights()

    def forward(self, images: Tensor, drop_path_scales: Tensor | None = None) -> Tensor:
        """drop_path_scales: (B, 2 × blocks), 0 or 1 / (1 - rate) per branch; None in evaluation.

        Raises UserError where a mixer is tied to another image size.
        """
        x = self.stem(images)
        start = 0
        for depth, stage in zip(self.depths, self.stages, strict=True):
            end = start + 2 * depth
            x = stage(x, None if drop_path_scales is None else drop_path_scales[:, start:end])
            start = end
        return self.head(x)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep each block's input alone for the backward pass, and compute the rest again."""
        for stage in self.stages:
            assert isinstance(stage, Stage)
            stage.grad_checkpointing = enable

    def use_kernels(self, kind: Literal["torch", "triton"], parts: "Parts | None" = None) -> None:
        """Compute the blocks by PyTorch, or those that can be by Triton's kernels.

        Weights and their names stay, results within rounding. parts: how far to fuse, for
        measurements; None is the fastest way.
        """
        fused = None
        if kind == "triton":
            # Late: Triton need not be there.
            from pipeline.models.kernels.fused_block import fused_block

            fused = partial(fused_block, act=self._act, parts=parts)
        for stage in self.stages:
            assert isinstance(stage, Stage)
            for block in stage.blocks if stage.suits_kernels else ():
                assert isinstance(block, Block)
                block.fused = fused

    def _init_weights(self) -> None:
        for name, module in self.named_modules():
            # Other convolutions keep PyTorch's default, as in the original.
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and ".mlp." in name):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
