"""A MetaFormer block by our kernels: two fused halves, and the statistics between them."""
# A block's modules have the attributes of their kinds: the schema says which blocks come here.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from pipeline.config.schema.model import Activation
from pipeline.models.kernels.mlp_half import Products, mlp_half
from pipeline.models.kernels.pooling_half import pooling_half
from pipeline.models.kernels.statistics import Statistics, statistics_of

if TYPE_CHECKING:
    from pipeline.models.metaformer import Block

Parts = Literal["pooling", "mlp", "epilogues"]
"""What is fused, each with those before it: the pooling half; the elementwise parts of the MLP's
half, around a library's matrix products; all of that half in Triton."""

_PRODUCTS: dict[Parts | None, Products] = {None: "auto", "mlp": "library", "epilogues": "triton"}


def fused_block(
    block: "Block",
    x: Tensor,
    drop_scales: tuple[Tensor | None, Tensor | None],
    statistics: Statistics | None,
    act: Activation,
    parts: Parts | None,
) -> tuple[Tensor, Statistics | None]:
    """What the block's own modules would compute, and the statistics of the result.

    x: (B, C, H, W); drop_scales: (B,) of each branch; statistics: those of x where they are
    known; parts: None is the faster way for these channels.
    """
    norm1, norm2, mlp = block.norm1, block.norm2, block.mlp
    if statistics is None:
        x = x.contiguous(memory_format=torch.channels_last)
        statistics = statistics_of(x, norm1.eps)
    first, second = drop_scales
    x, statistics = pooling_half(
        x, statistics, norm1.weight, norm1.bias, block.layer_scale1.scale, first,
        block.token_mixer.pool.kernel_size, norm2.eps,
    )  # fmt: skip
    if parts == "pooling":
        return block.mlp_branch(x, second), None
    return mlp_half(
        x, statistics, norm2.weight, norm2.bias, mlp.fc1.weight, mlp.fc1.bias, mlp.fc2.weight,
        mlp.fc2.bias, block.layer_scale2.scale, second, act, norm1.eps, _PRODUCTS[parts],
    )  # fmt: skip
