"""Whether the token mixers that grow with the square of the positions fit; no torch."""

from dataclasses import dataclass
from typing import Literal

from pipeline.config.schema import ModelConfig
from pipeline.errors import UserError
from pipeline.models.stages import StagePlan, plan_stages

_DTYPE_BYTES = {"bf16": 2, "fp32": 4}
# In bf16 weight, gradient, fp32 master and two fp32 moments; in fp32 no master.
_TRAINED_BYTES = 16


@dataclass(frozen=True)
class MixerMemory:
    """What the mixers of one stage need, in bytes, and why."""

    stage: int
    num_bytes: int
    why: str


def mixer_memory(
    config: ModelConfig, img_size: int, micro_batch: int, dtype: Literal["bf16", "fp32"]
) -> list[MixerMemory]:
    """Stages whose mixers need memory for pairs of positions, the largest first.

    random: an fp32 matrix per block, and one in another ``dtype`` while it is used. spatial_fc:
    16 bytes per weight (weight, gradient, master, two moments). attention: queries, keys,
    values and outputs of a micro-batch in ``dtype``, kept for the backward pass; a fused kernel
    has no map of N × N.
    """
    if config.name != "metaformer":
        return []
    needs: list[MixerMemory] = []
    for number, stage in enumerate(plan_stages(config.metaformer, img_size), 1):
        pairs = stage.positions**2
        if stage.token_mixer == "random":
            size = pairs * (4 * stage.depth + (_DTYPE_BYTES[dtype] if dtype != "fp32" else 0))
            why = f"{stage.depth} random matrices of {_square(stage)} in fp32" + (
                f", and one in {dtype}" if dtype != "fp32" else ""
            )
        elif stage.token_mixer == "spatial_fc":
            size = pairs * stage.depth * _TRAINED_BYTES
            why = f"{stage.depth} trained matrices of {_square(stage)} with their optimizer state"
        elif stage.token_mixer == "attention":
            values = stage.positions * stage.dim
            size = 4 * values * micro_batch * _DTYPE_BYTES[dtype] * stage.depth
            why = (
                f"queries, keys, values and outputs of attention in {stage.depth} blocks for "
                f"{micro_batch} images of {stage.positions:,} positions in {dtype}"
            )
        else:
            continue
        needs.append(MixerMemory(number, size, why))
    return sorted(needs, key=lambda need: -need.num_bytes)


def check_memory(
    config: ModelConfig,
    img_size: int,
    micro_batch: int,
    dtype: Literal["bf16", "fp32"],
    available_bytes: int,
) -> None:
    """Raise UserError where the mixers of ``mixer_memory`` alone exceed what there is."""
    needs = mixer_memory(config, img_size, micro_batch, dtype)
    total = sum(need.num_bytes for need in needs)
    if total <= available_bytes:
        return
    listed = "; ".join(
        f"stage {need.stage} {need.num_bytes / 1e9:.1f} GB ({need.why})" for need in needs
    )
    by_batch = any("attention" in need.why for need in needs)
    raise UserError(
        f"augment.img_size={img_size}: the token mixers need {total / 1e9:.1f} GB, there are "
        f"{available_bytes / 1e9:.1f} GB: {listed}; lower augment.img_size"
        + (f" or train.micro_batch={micro_batch}" if by_batch else "")
        + ", or use pooling in the early stages (model.metaformer.token_mixers)"
    )


def _square(stage: StagePlan) -> str:
    return f"{stage.positions:,} × {stage.positions:,}"
