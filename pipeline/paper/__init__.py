"""The paper's figures as data: ``figures.yaml``, read and typed; no torch."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

_FILE = Path(__file__).with_name("figures.yaml")


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Model(_Row):
    """A model that a config of ours builds, and what it must come to."""

    name: str
    config: str
    """Under configs/."""
    settings: dict[str, Any] = {}
    """Dotted settings that make it what it is."""
    parameters: int
    """Trained ones, to the unit."""
    frozen: int = 0
    parameters_m: float
    """As the paper prints them, in millions; so frozen_m."""
    frozen_m: float | None = None
    macs_g: float
    """Multiply-adds of one 224-px image as the paper prints them, in 10⁹."""
    top1: float
    """Percent, ImageNet validation; so everywhere here."""


class TimmCount(_Row):
    """What timm's model of that name has, where the paper's table prints something else."""

    parameters_m: float
    macs_g: float


class Peer(_Row):
    """A row of Table 2 that is not the paper's own."""

    name: str
    timm: str | None = None
    """Its name in timm; null where timm has no such model."""
    parameters_m: float
    macs_g: float
    top1: float
    differs: TimmCount | None = None
    note: str | None = None


class FollowUp(_Row):
    """A model of the follow-up paper, built by model.name."""

    name: str
    drop_path: float
    parameters_m: float
    frozen_m: float = 0.0
    macs_g: float
    top1: float


class Figures(_Row):
    """All of them; ``sources`` says where each group stands."""

    sources: dict[str, str]
    sizes: list[Model]
    """Table 1, and top-1 of Table 2."""
    recipe: dict[str, Any]
    """Settings of every training (App. A, Table 6)."""
    ablations: list[Model]
    """Table 5; the first is its baseline."""
    peers: list[Peer]
    """Table 2."""
    follow_up_crop_pct: float
    follow_up: list[FollowUp]
    longer_training: dict[int, float]
    """Table 7: epochs of S12 to top-1."""
    train_images: int
    timm_top1: dict[str, float]
    """timm's own evaluation of the released weights."""
    detection: list[dict[str, Any]] = Field(min_length=1)
    """COCO (Table 3)."""
    segmentation: list[dict[str, Any]] = Field(min_length=1)
    """ADE20K (Table 4)."""


@cache
def figures() -> Figures:
    """The paper's figures."""
    return Figures.model_validate(yaml.safe_load(_FILE.read_text(encoding="utf-8")))
