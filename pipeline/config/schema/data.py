"""Settings of the shards, the augmentation and the evaluation: what the model sees."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.policy import parse_policy
from pipeline.config.schema.section import (
    Channels,
    Count,
    Fraction,
    Free,
    Manner,
    NotNegative,
    Positive,
    Range,
    Section,
)


class DataConfig(Section):
    """Where the shards lie and how they are read."""

    root: Annotated[str, Free] = "shards/imagenet1k"
    """Folder of shards, as written by data_prep/shard.py."""
    train_split: Annotated[str, Manner] = "train"
    """Split to train on."""
    val_split: Annotated[str, Manner] = "validation"
    """Split to evaluate on."""
    decode: Annotated[Literal["auto", "cpu", "gpu"], Manner] = "auto"
    """Where DALI decodes; auto is the device that trains. On the CPU the whole recipe takes
    6 ms of one per image: about 150 images per second and CPU."""
    hw_decoder_load: Annotated[Fraction, Manner] = 1.0
    """Share of the JPEGs for a GPU's hardware decoder; its CUDA decoder, with the CPU's help, has
    the rest. Their pixels differ by a rounding: at 1 an image alone decides who decodes it."""
    order: Annotated[Literal["global", "windowed"], Manner] = "global"
    """Shuffle: of all samples, or of shards and then inside windows of shards."""
    window_shards: Annotated[Count, Manner] = 16
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


class EvaluateConfig(Section):
    """The evaluation."""

    batch_size: Annotated[Count, Manner] = 64
    """Images per batch and rank."""
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 0.9
    """The image's short side is resized to img_size / crop_pct before the centre crop."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    """Resize filter."""
    every_epochs: Annotated[Count, Free] = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
