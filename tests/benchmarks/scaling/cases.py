"""What is measured beside its forecast: stages, dtypes and slots, and the config of each. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.config import Config, load
from tests.benchmarks.record import ROOT

MICRO_BATCH = 8
SIDE_PIXELS = 64


@dataclass(frozen=True)
class Case:
    """One training; its fields are words that reach the ranks as JSON."""

    zero_stage: int
    dtype: Literal["bf16", "fp32"]
    micro_batches: int
    """Per step, over all ranks."""

    @property
    def name(self) -> str:
        return f"zero{self.zero_stage}-{self.dtype}-{self.micro_batches}"


TIMED = (Case(0, "fp32", 2), Case(1, "fp32", 2), Case(1, "fp32", 4), Case(3, "fp32", 2))
"""Stage 1 with one and with two slots on two ranks; stages that exchange otherwise."""


def counted_cases() -> Iterator[Case]:
    """Every stage with one and with two slots on two ranks, and the default stage in bf16."""
    for micro_batches in (2, 4):
        yield from (Case(stage, "fp32", micro_batches) for stage in (0, 1, 2, 3))
        yield Case(1, "bf16", micro_batches)


def config_of(case: Case) -> Config:
    """PoolFormer-S12 on small images: as many bytes to exchange as ever, and little to compute."""
    settings = [
        "device=cpu",
        f"augment.img_size={SIDE_PIXELS}",
        f"engine.zero_stage={case.zero_stage}",
        f"engine.dtype={case.dtype}",
        "engine.cpu_threads=1",
        f"train.micro_batch={MICRO_BATCH}",
        f"train.global_batch={MICRO_BATCH * case.micro_batches}",
    ]
    return load(ROOT / "configs/s12.yaml", settings).config
