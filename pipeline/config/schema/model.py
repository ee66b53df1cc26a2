"""Settings of the network."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.schema.section import Counts, Positive, Section

TokenMixer = Literal["pooling", "identity"]
TokenMixers = TokenMixer | Annotated[tuple[TokenMixer, ...], Field(strict=False, min_length=1)]


class MetaFormerConfig(Section):
    """The paper's architecture; read where model.name is metaformer."""

    depths: Counts = (2, 2, 6, 2)
    """Blocks per stage."""
    dims: Counts = (64, 128, 320, 512)
    """Channels per stage."""
    token_mixers: TokenMixers = "pooling"
    """Token mixer of all stages, or a list with one per stage."""
    pool_size: Annotated[int, Field(ge=1)] = 3
    """Side of the pooling mixer's window, odd."""
    layer_scale_init: Positive = 1e-5
    """Initial LayerScale."""

    @model_validator(mode="after")
    def _one_entry_per_stage(self) -> Self:
        stages = len(self.depths)
        if len(self.dims) != stages:
            raise ValueError(
                f"depths has {stages} stages, dims has {len(self.dims)}; make them equal"
            )
        if isinstance(self.token_mixers, tuple) and len(self.token_mixers) != stages:
            raise ValueError(
                f"token_mixers has {len(self.token_mixers)} entries for {stages} stages; "
                "give one per stage, or one name for all"
            )
        if self.pool_size % 2 == 0:
            raise ValueError(f"pool_size={self.pool_size} must be odd; use {self.pool_size + 1}")
        return self


class ModelConfig(Section):
    """The network: `metaformer` is the paper's own; any other name is timm's."""

    name: str = "metaformer"
    """metaformer, or the name of a timm model such as poolformer_m48."""
    num_classes: Annotated[int, Field(ge=2)] = 1000
    """Classes of the head."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Stochastic depth of the last block; grows linearly from 0."""
    metaformer: MetaFormerConfig = MetaFormerConfig()
