"""What each stage of a MetaFormer is, from its settings and the image size; no torch."""

from dataclasses import dataclass

from pipeline.config.schema import MetaFormerConfig


@dataclass(frozen=True)
class StagePlan:
    """One stage: blocks of one width at one resolution."""

    depth: int
    dim: int
    side: int
    """Side of the stage's square map for the image size that the model is built for."""
    token_mixer: str
    pool_size: int
    norm: str
    has_pos_embed: bool
    """A learned position embedding is added before its blocks."""
    suits_kernels: bool
    """Its blocks are such that our kernels can compute them."""

    @property
    def positions(self) -> int:
        """Positions of the map: side × side."""
        return self.side * self.side


def plan_stages(config: MetaFormerConfig, img_size: int) -> tuple[StagePlan, ...]:
    """The stages for images of ``img_size`` × ``img_size``.

    The stem is a convolution of kernel 7, stride 4, padding 2; later stages begin with one of
    kernel 3, stride 2, padding 1 (Table 1). Positions are learned before the first stage with
    attention (the original release's hybrids).
    """
    mixers = config.per_stage("token_mixers")
    first_attention = mixers.index("attention") if "attention" in mixers else None
    side = (img_size - 3) // 4 + 1
    stages: list[StagePlan] = []
    for i, (depth, dim, mixer, pool_size, norm, suits) in enumerate(
        zip(
            config.depths,
            config.dims,
            mixers,
            config.per_stage("pool_size"),
            config.per_stage("norm"),
            config.stages_for_kernels,
            strict=True,
        )
    ):
        if i:
            side = (side - 1) // 2 + 1
        has_positions = i == first_attention
        stages.append(StagePlan(depth, dim, side, mixer, pool_size, norm, has_positions, suits))
    return tuple(stages)
