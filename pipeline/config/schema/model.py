"""Settings of the network."""

import difflib
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline.config.schema.section import Count, Counts, Manner, Positive, Section

TokenMixer = Literal["pooling", "identity", "random", "depthwise_conv", "attention", "spatial_fc"]
Norm = Literal["group_norm", "layer_norm", "batch_norm", "none"]
Activation = Literal["gelu", "relu", "silu"]
Kernels = Literal["auto", "torch", "triton"]

ATTENTION_HEAD_DIM = 32
"""Channels of an attention head (the original release)."""
LARGEST_FUSED_POOL = 9
"""Side of the largest window that the kernels have registers for; Table 5 has no larger one."""


def _known(words: tuple[str, ...]) -> BeforeValidator:
    """Refuse what is none of the words, alone or in a list, and name the nearest."""

    def check(value: object) -> object:
        is_list = isinstance(value, (list, tuple))
        for word in cast(list[object], value) if is_list else [value]:
            if word in words:
                continue
            near = difflib.get_close_matches(str(word), words, n=1, cutoff=0.5)
            text = f"{word!r} is" if is_list else "is"
            text += f" none of {', '.join(words)}"
            text += f"; did you mean {near[0]}?" if near else ""
            raise PydanticCustomError("unknown_word", "{text}", {"text": text})
        return value

    return BeforeValidator(check)


_PerStage = Field(strict=False, min_length=1)
TokenMixers = Annotated[
    TokenMixer | Annotated[tuple[TokenMixer, ...], _PerStage], _known(get_args(TokenMixer))
]
Norms = Annotated[Norm | Annotated[tuple[Norm, ...], _PerStage], _known(get_args(Norm))]


class MetaFormerConfig(Section):
    """The paper's architecture; read where model.name is metaformer.

    ``token_mixers``, ``pool_size`` and ``norm`` are one value for all stages, or a list with
    one per stage.
    """

    depths: Counts = (2, 2, 6, 2)
    """Blocks per stage."""
    dims: Counts = (64, 128, 320, 512)
    """Channels per stage."""
    token_mixers: TokenMixers = "pooling"
    """Token mixer; random, attention and spatial_fc grow with the square of the positions."""
    pool_size: Count | Counts = 3
    """Side of the pooling mixer's window, odd."""
    norm: Norms = "group_norm"
    """Norm; group_norm has one group, layer_norm is over channels. The head takes the last one."""
    act: Annotated[Activation, _known(get_args(Activation))] = "gelu"
    """Activation of the channel MLP."""
    residual: bool = True
    """Add each branch to its input; false passes on the branch alone."""
    mlp: bool = True
    """Channel MLP; false puts the identity in its place and keeps the branch's norm."""
    layer_scale_init: Positive = 1e-5
    """Initial LayerScale."""

    @model_validator(mode="after")
    def _one_entry_per_stage(self) -> Self:
        stages = len(self.depths)
        if len(self.dims) != stages:
            raise ValueError(
                f"depths has {stages} stages, dims has {len(self.dims)}; make them equal"
            )
        for name in ("token_mixers", "pool_size", "norm"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(cast(tuple[Any, ...], value)) != stages:
                raise ValueError(
                    f"{name} has {len(cast(tuple[Any, ...], value))} entries for {stages} stages; "
                    "give one per stage, or one value for all"
                )
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        for size in self.pool_size if isinstance(self.pool_size, tuple) else [self.pool_size]:
            if size % 2 == 0:
                raise ValueError(f"pool_size={size} must be odd; use {size + 1}")
        for mixer, dim in zip(self.per_stage("token_mixers"), self.dims, strict=True):
            if mixer == "attention" and dim % ATTENTION_HEAD_DIM:
                raise ValueError(
                    f"dims={dim} of a stage with attention is not a multiple of its heads' "
                    f"{ATTENTION_HEAD_DIM} channels; use {-(-dim // ATTENTION_HEAD_DIM) * 32}"
                )
        return self

    def per_stage(self, name: str) -> tuple[Any, ...]:
        """A setting's value for each stage, whether written once or as a list."""
        value = getattr(self, name)
        if isinstance(value, tuple):
            return cast(tuple[Any, ...], value)
        return (value,) * len(self.depths)

    @property
    def stages_for_kernels(self) -> tuple[bool, ...]:
        """Of each stage, whether its blocks are such that this project's kernels can do them."""
        return tuple(
            self.residual
            and self.mlp
            and (mixer, norm) == ("pooling", "group_norm")
            and pool_size <= LARGEST_FUSED_POOL
            for mixer, norm, pool_size in zip(
                self.per_stage("token_mixers"),
                self.per_stage("norm"),
                self.per_stage("pool_size"),
                strict=True,
            )
        )


class ModelConfig(Section):
    """The network: `metaformer` is the paper's own; any other name is timm's."""

    name: str = "metaformer"
    """metaformer, or a timm model such as poolformer_m48, or identityformer_* or randformer_*."""
    num_classes: Annotated[int, Field(ge=2)] = 1000
    """Classes of the head."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Stochastic depth of the last block; grows linearly from 0."""
    init_from: str | None = None
    """Weights to start from: a weights file, or a folder of timm's, a run or a checkpoint."""
    new_head: bool = False
    """Take all but the classifier from init_from, for other classes."""
    freeze: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Parameters that stay as they are: patterns of names such as stem.* or stages.0.*."""
    kernels: Annotated[Kernels, _known(get_args(Kernels)), Manner] = "auto"
    """What computes the blocks: PyTorch or our Triton kernels; auto, what should be faster."""
    metaformer: MetaFormerConfig = MetaFormerConfig()

    @model_validator(mode="after")
    def _new_head_of_something(self) -> Self:
        if self.new_head and self.init_from is None:
            raise ValueError("new_head=true needs init_from; name the weights, or drop new_head")
        return self

    @model_validator(mode="after")
    def _kernels_for_something(self) -> Self:
        if self.kernels == "triton" and not self.suits_kernels:
            own = self.name == "metaformer"
            reason = (
                "no stage has token_mixers=pooling, norm=group_norm, residual=true, mlp=true and "
                f"pool_size up to {LARGEST_FUSED_POOL}"
                if own
                else f"name={self.name} is not metaformer"
            )
            raise ValueError(
                f"kernels=triton can compute none of the blocks: {reason}; use kernels=auto"
            )
        return self

    @property
    def suits_kernels(self) -> bool:
        """Whether any of the blocks are such that this project's kernels can do them."""
        return self.name == "metaformer" and any(self.metaformer.stages_for_kernels)
