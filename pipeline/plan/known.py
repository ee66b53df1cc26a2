"""The committed table that forecasts go by: models, measured speeds, GPUs, networks."""

import functools
from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from pipeline.config import Config
from pipeline.config.schema import MetaFormerConfig

FILE = Path(__file__).with_name("forecast.yaml")


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KnownModel(_Row):
    """A model's figures; see forecast.yaml."""

    config: str
    settings: dict[str, Any]
    num_classes: int = 1000
    img_size: int
    parameters: int
    frozen: int
    macs: int
    activation_bytes: int

    @property
    def training_flops(self) -> int:
        """Of one image: forward once, backward twice; a multiply-add is two operations."""
        return 6 * self.macs


class Speed(_Row):
    """A measured training; see forecast.yaml."""

    config: str
    img_size: int
    dtype: Literal["bf16", "fp32"]
    device: Literal["cuda", "cpu"]
    hardware: str
    images_per_second: float
    date: date
    source: str


class Gpu(_Row):
    """What a data sheet says; see forecast.yaml."""

    gpu: str
    flops: dict[Literal["bf16", "fp32"], float]
    memory_bytes: float
    memory_bytes_per_second: float
    nvlink_bytes_per_second: float | None
    pcie_bytes_per_second: float
    names: tuple[str, ...]
    source: str


class Table(_Row):
    """All that forecasts go by."""

    models: tuple[KnownModel, ...]
    speeds: tuple[Speed, ...]
    gpus: tuple[Gpu, ...]
    links: dict[str, str]

    @property
    def usual_gpu(self) -> Gpu:
        """What is reckoned with where no GPU is named and none was measured."""
        return self.gpus[0]


@functools.cache
def table() -> Table:
    """The committed figures."""
    # YAML's C parser: the pure one takes as long as all the rest.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Table.model_validate(yaml.load(FILE.read_text(encoding="utf-8"), loader))


def known_model(config: Config) -> KnownModel | None:
    """The row of this architecture, whatever the image size."""
    if config.model.name != "metaformer":
        return None
    own = config.model.metaformer
    for row in table().models:
        theirs = MetaFormerConfig(**row.settings, layer_scale_init=own.layer_scale_init)
        if theirs == own:
            return row
    return None


def trained_parameters(config: Config, model: KnownModel) -> int:
    """With a classifier of the config's classes; model.freeze is left out of account."""
    width = config.model.metaformer.dims[-1] + 1
    return model.parameters + (config.model.num_classes - model.num_classes) * width


def measured_speeds(config: Config, model: KnownModel | None) -> list[Speed]:
    """Rows of this model at this image size, dtype and kind of device."""
    if model is None:
        return []
    wanted = (model.config, config.augment.img_size, config.engine.dtype, config.device)
    return [
        row for row in table().speeds if (row.config, row.img_size, row.dtype, row.device) == wanted
    ]


def gpu_named(name: str) -> Gpu | None:
    """The row of a GPU, by torch's name for it or by the table's own; None: not in the table."""
    for row in table().gpus:
        if name == row.gpu or name in row.names:
            return row
    return None
