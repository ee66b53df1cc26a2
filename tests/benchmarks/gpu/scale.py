"""How large the rungs are: whole on a GPU, or a trifle that passes through the same lines."""

from dataclasses import dataclass
from typing import Literal

from pipeline.config import Config, load
from tests.benchmarks.gpu.rungs import Rung
from tests.benchmarks.record import ROOT

_SMALL = (
    "augment.img_size=16",
    "model.metaformer.depths=[1]",
    "model.metaformer.dims=[8]",
)
"""For the smoke run: one block of 4 × 4 positions, as Triton's interpreter takes its time."""


@dataclass(frozen=True)
class Scale:
    """Where rungs run, and whether they are shrunk to see only that all lines work."""

    device: Literal["cuda", "cpu"]
    is_smoke: bool

    def batch_of(self, rung: Rung) -> int:
        """Images of a step."""
        return rung.batch // 64 if self.is_smoke else rung.batch

    def warm_up_steps(self, steps: int) -> int:
        """Steps before what is timed."""
        return 0 if self.is_smoke else steps

    def timm_size(self, rung: Rung) -> str:
        """timm's name of the model's size."""
        return "s12" if self.is_smoke else rung.model

    def config_of(self, rung: Rung, *overrides: str) -> Config:
        """configs/<model>.yaml as the rung computes it, on one rank with one micro-batch a step."""
        batch = self.batch_of(rung)
        settings = [
            "name=benchmark",
            f"device={self.device}",
            "tracking.uri=journal",
            f"train.global_batch={batch}",
            f"train.micro_batch={batch}",
            f"engine.memory_format={rung.memory_format}",
            f"engine.grad_checkpointing={str(rung.grad_checkpointing).lower()}",
            f"engine.deterministic={str(rung.deterministic).lower()}",
            f"engine.compile={str(rung.compile_mode is not None).lower()}",
            f"engine.compile_mode={rung.compile_mode or 'default'}",
            f"model.kernels={'triton' if rung.parts else 'torch'}",
            *(_SMALL if self.is_smoke else ()),
            *overrides,
        ]
        return load(ROOT / f"configs/{rung.model}.yaml", settings).config
