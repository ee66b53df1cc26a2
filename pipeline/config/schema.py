"""Every setting: its type, default, bound and unit. The only home of a default.

``Free`` settings may differ between the launches of one run: they say where and how
often, and leave the sequence of losses as it is.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.config.policy import parse_policy

Free = Field(json_schema_extra={"free": True})

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
# `strict` would refuse YAML's lists for tuples; the items themselves stay strict.
Range = Annotated[tuple[Positive, Positive], Field(strict=False)]
Channels = Annotated[tuple[float, float, float], Field(strict=False)]
Counts = Annotated[tuple[Count, ...], Field(strict=False, min_length=1)]

TokenMixer = Literal["pooling", "identity"]
TokenMixers = TokenMixer | Annotated[tuple[TokenMixer, ...], Field(strict=False, min_length=1)]


class Section(BaseModel):
    """A group of settings; frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class DataConfig(Section):
    """Where the shards lie and how they are read."""

    root: Annotated[str, Free] = "shards/imagenet1k"
    """Folder of shards, as written by data_prep/shard.py."""
    train_split: str = "train"
    """Split to train on."""
    val_split: str = "validation"
    """Split to evaluate on."""
    decode: Annotated[Literal["auto", "cpu", "gpu"], Free] = "auto"
    """Where DALI decodes; auto is the device that trains."""
    order: Literal["global", "windowed"] = "global"
    """Shuffle: of all samples, or of shards and then inside windows of shards."""
    window_shards: Count = 16
    """Shards per shuffle window (order: windowed)."""
    read_threads: Annotated[Count, Free] = 8
    """Threads per rank that read ahead, each a micro-batch."""
    read_timeout_s: Annotated[Positive, Free] = 300.0
    """How long a read may take before the job ends with the shard's name."""
    decode_threads: Annotated[Count, Free] = 4
    """DALI's CPU threads per rank."""
    prefetch_batches: Annotated[Count, Free] = 2
    """Micro-batches that DALI prepares ahead."""
    stage_to: Annotated[str | None, Free] = None
    """Folder on each node's own disk to which shards are copied meanwhile; null is off."""
    max_bad_samples: Annotated[int, Field(ge=0), Free] = 10
    """Samples that may turn out undecodable before the job stops; others take their places."""


class AugmentConfig(Section):
    """The training augmentation, in timm's words."""

    img_size: Annotated[int, Field(ge=8)] = 224
    """Side of the square that the model sees, in pixels."""
    scale: Range = (0.08, 1.0)
    """Random resized crop: area as a fraction of the image."""
    ratio: Range = (0.75, 4 / 3)
    """Random resized crop: width / height."""
    hflip: Fraction = 0.5
    """Probability of a horizontal flip."""
    train_interpolation: Literal["random", "bilinear", "bicubic"] = "random"
    """Resize filter; random draws bilinear or bicubic per image."""
    aa: str | None = "rand-m9-mstd0.5-inc1"
    """RandAugment policy, timm's string."""
    color_jitter: Annotated[NotNegative, Field(le=1)] | None = None
    """Colour jitter strength, where aa is off."""
    mixup: NotNegative = 0.8
    """Alpha of mixup's beta distribution; 0 is off."""
    cutmix: NotNegative = 1.0
    """Alpha of cutmix's beta distribution; 0 is off."""
    mixup_switch_prob: Fraction = 0.5
    """Probability of cutmix where both are on."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Label smoothing."""
    reprob: Fraction = 0.25
    """Probability of random erasing."""
    remode: Literal["const", "rand", "pixel"] = "pixel"
    """Filling of erased boxes."""
    recount: Count = 1
    """Erased boxes per image."""
    mean: Channels = (0.485, 0.456, 0.406)
    """Channel means, of pixels in 0..1."""
    std: Channels = (0.229, 0.224, 0.225)
    """Channel standard deviations, of pixels in 0..1."""

    @field_validator("aa")
    @classmethod
    def _policy(cls, aa: str | None) -> str | None:
        if aa is not None:
            parse_policy(aa)
        return aa

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the first value must not exceed the second")
        return self


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


class OptimConfig(Section):
    """Optimizer and learning-rate schedule, in timm's words."""

    opt: str = "adamw"
    """Optimizer, a name of timm.optim."""
    lr_base: Positive = 1e-3
    """Peak learning rate at a global batch of lr_base_size; scaled linearly."""
    lr_base_size: Count = 1024
    """Global batch that lr_base is meant for."""
    weight_decay: NotNegative = 0.05
    """Weight decay; none on biases and 1-D parameters."""
    opt_betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.9, 0.999)
    """Decay of the two moments."""
    opt_eps: Positive = 1e-8
    """Epsilon of the optimizer."""
    clip_grad: Positive | None = None
    """Largest gradient norm; null is off."""
    sched: Literal["cosine"] = "cosine"
    """Schedule of the learning rate."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    """Epochs from warmup_lr to the peak; part of train.epochs."""
    warmup_lr: NotNegative = 1e-6
    """First learning rate of the warm-up."""
    min_lr: NotNegative = 1e-5
    """Last learning rate of the cosine."""
    cooldown_epochs: Annotated[int, Field(ge=0)] = 10
    """Epochs at min_lr, after train.epochs."""
    sched_on_updates: bool = False
    """Step the schedule every update instead of every epoch."""


class TrainConfig(Section):
    """Length and batch of the training."""

    epochs: Count = 300
    """Epochs of the schedule, warm-up included, cool-down not."""
    global_batch: Count = 4096
    """Images per optimizer step, over all ranks."""
    micro_batch: Count = 64
    """Images that one rank computes at once; the unit of determinism."""
    max_steps: Annotated[Count | None, Free] = None
    """Stop after this many optimizer steps; the schedule stays that of all epochs."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.global_batch % self.micro_batch:
            below = self.global_batch // self.micro_batch * self.micro_batch
            options = [str(v) for v in (below, below + self.micro_batch) if v]
            raise ValueError(
                f"global_batch={self.global_batch} is not a multiple of "
                f"micro_batch={self.micro_batch}; use {' or '.join(options)}"
            )
        return self


class EngineConfig(Section):
    """DeepSpeed and the machine's numbers."""

    zero_stage: Annotated[Literal[0, 1, 2, 3], Free] = 1
    """ZeRO stage: what is split over the ranks (1 optimizer state, 2 gradients, 3 parameters)."""
    dtype: Literal["bf16", "fp32"] = "bf16"
    """Type of weights and activations; the master weights are fp32 in both."""
    cpu_threads: Count = 1
    """Threads per rank of torch on CPU; sums depend on it."""
    cpu_tasks: Annotated[Count, Free] = 1
    """Processes per node where device is cpu; on GPUs it is one per GPU."""
    max_skipped_steps: Annotated[Count, Free] = 10
    """Stop after this many steps in a row with inf or NaN gradients."""
    timeout_s: Annotated[Count, Free] = 600
    """How long a rank waits for the others before the job ends."""


class EvaluateConfig(Section):
    """The evaluation."""

    batch_size: Count = 64
    """Images per batch and rank."""
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 0.9
    """The image's short side is resized to img_size / crop_pct before the centre crop."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    """Resize filter."""
    every_epochs: Annotated[Count, Free] = 1
    """Epochs between evaluations; the last epoch is always evaluated."""


class CheckpointConfig(Section):
    """When checkpoints are written and which stay."""

    every_epochs: Annotated[Count, Free] = 1
    """Epochs between checkpoints."""
    every_steps: Annotated[Count | None, Free] = None
    """Optimizer steps between checkpoints, beside those at epochs' ends; null is off."""
    keep_last: Annotated[Count, Free] = 2
    """Newest checkpoints to keep; the best one stays as well."""


class TrackingConfig(Section):
    """Journal, MLflow and the terminal."""

    experiment: Annotated[str, Free] = "imagenet"
    """MLflow experiment."""
    uri: Annotated[str | None, Free] = None
    """MLflow store; null is $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db; journal is none."""
    every_steps: Annotated[Count, Free] = 50
    """Optimizer steps between journal entries."""
    system_every_s: Annotated[Positive, Free] = 10.0
    """Seconds between samples of CPU, memory and GPU."""
    terminal_every_s: Annotated[Positive, Free] = 10.0
    """Seconds between progress lines where the output is no terminal."""

    @model_validator(mode="after")
    def _no_secrets(self) -> Self:
        # The resolved config is written to the run folder and to MLflow.
        if self.uri and re.search(r"//[^/@]*:[^/@]*@", self.uri):
            raise ValueError(
                "uri must hold no password; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD"
            )
        return self


class Config(Section):
    """One run."""

    name: Annotated[str, Free, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "run"
    """Name of the run and of its folder; the config's file name where not set."""
    runs_root: Annotated[str, Free] = "runs"
    """Folder of all runs."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of everything that is random."""
    device: Literal["cuda", "cpu"] = "cuda"
    """What trains."""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    engine: EngineConfig = EngineConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if self.device == "cpu" and self.data.decode == "gpu":
            raise ValueError("data.decode=gpu needs device=cuda; use data.decode=cpu or auto")
        if self.optim.warmup_epochs >= self.train.epochs:
            raise ValueError(
                f"optim.warmup_epochs={self.optim.warmup_epochs} must be less than "
                f"train.epochs={self.train.epochs}; lower it"
            )
        return self
