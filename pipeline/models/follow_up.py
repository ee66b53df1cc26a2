"""IdentityFormer and RandFormer of the follow-up (arXiv 2210.13452), which timm does not register.

They are built from timm's own parts as its poolformerv2_* are: StarReLU, ResScale, no biases in
blocks, norms of one group without bias. Only the token mixer differs.
"""

import torch
from timm.models import metaformer as timm_metaformer
from torch import nn

from pipeline.config.schema import MetaFormerConfig
from pipeline.models.sizes import SIZES
from pipeline.models.stages import plan_stages
from pipeline.models.token_mixers import RandomMixing

_MIXERS = {
    "identityformer": ("identity",) * 4,
    "randformer": ("identity", "identity", "random", "random"),
}

NAMES = tuple(f"{family}_{size}" for family in _MIXERS for size in SIZES)
"""What ``model.name`` may be, besides metaformer and timm's names."""


def architecture(name: str) -> MetaFormerConfig:
    """Depths, widths and token mixers of one of NAMES; its other fields say nothing of it."""
    family, _, size = name.partition("_")
    depths, dims = SIZES[size]
    return MetaFormerConfig(depths=depths, dims=dims, token_mixers=_MIXERS[family])


def build_follow_up(
    name: str, num_classes: int, drop_path: float, img_size: int, seed: int
) -> nn.Module:
    """One of NAMES on timm's MetaFormer; ``seed`` draws the random matrices."""
    config = architecture(name)
    generator = torch.Generator().manual_seed(seed)
    return timm_metaformer.MetaFormer(
        num_classes=num_classes,
        depths=config.depths,
        dims=config.dims,
        token_mixers=[
            _mixing_of(plan.side, generator) if plan.token_mixer == "random" else nn.Identity
            for plan in plan_stages(config, img_size)
        ],
        norm_layers=timm_metaformer.GroupNorm1NoBias,
        use_mlp_head=False,
        drop_path_rate=drop_path,
    )


def _mixing_of(side: int, generator: torch.Generator) -> type[nn.Module]:
    """timm wants a class per stage that takes the width."""

    class StageMixing(RandomMixing):
        def __init__(self, **_: object):
            super().__init__(side, generator)

    return StageMixing
