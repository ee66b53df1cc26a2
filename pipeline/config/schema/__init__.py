"""Every setting: its type, default, bound and unit. The only home of a default.

``Free`` settings may differ between the launches of one run: they say where and how
often, and leave the sequence of losses as it is. ``Manner`` settings say how a training is
computed: another value rounds or draws in another way, so it is another run, but of the same
experiment. All others, but the seed, say what is trained.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.schema.data import AugmentConfig, DataConfig, EvaluateConfig
from pipeline.config.schema.keeping import CheckpointConfig, TrackingConfig
from pipeline.config.schema.model import MetaFormerConfig, ModelConfig
from pipeline.config.schema.section import Free, Manner, Section
from pipeline.config.schema.training import (
    ElasticConfig,
    EngineConfig,
    OptimConfig,
    TrainConfig,
)

__all__ = [
    "AugmentConfig",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "ElasticConfig",
    "EngineConfig",
    "EvaluateConfig",
    "MetaFormerConfig",
    "ModelConfig",
    "OptimConfig",
    "Section",
    "TrackingConfig",
    "TrainConfig",
]


class Config(Section):
    """One run."""

    name: Annotated[str, Free, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "run"
    """Name of the run and of its folder; the config's file name where not set."""
    runs_root: Annotated[str, Free] = "runs"
    """Folder of all runs."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of everything that is random."""
    device: Annotated[Literal["cuda", "cpu"], Manner] = "cuda"
    """What trains."""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    engine: EngineConfig = EngineConfig()
    elastic: ElasticConfig = ElasticConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if self.device == "cpu" and self.data.decode == "gpu":
            raise ValueError("data.decode=gpu needs device=cuda; use data.decode=cpu or auto")
        if self.engine.compile and self.model.kernels == "triton":
            raise ValueError(
                "engine.compile=true and model.kernels=triton are two ways to fuse the same "
                "operations; use model.kernels=auto, or engine.compile=false"
            )
        if self.engine.memory_format == "contiguous" and self.model.kernels == "triton":
            raise ValueError(
                "engine.memory_format=contiguous, but model.kernels=triton works in channels_last; "
                "use engine.memory_format=auto, or model.kernels=torch"
            )
        if self.optim.warmup_epochs >= self.train.epochs:
            raise ValueError(
                f"optim.warmup_epochs={self.optim.warmup_epochs} must be less than "
                f"train.epochs={self.train.epochs}; lower it"
            )
        return self
