"""This project's training loop, whole, over its own shards."""

from collections.abc import Iterator

from pipeline.config import Config, load
from pipeline.data.batches import Step
from pipeline.data.loader import Loader
from pipeline.preempt import StopRequest
from pipeline.train.loop import train
from pipeline.world import World
from tests.benchmarks.loader.material import WORKERS, Material
from tests.benchmarks.record import ROOT
from tests.benchmarks.training.clock import Clock

BATCH = 64
SIDE = 64
"""Side of the crops, in pixels."""


def settings_of(material: Material, dtype: str, *overrides: str) -> Config:
    """PoolFormer-S12 with the paper's recipe on two CPUs, one rank."""
    settings = [
        "name=benchmark",
        f"runs_root={material.folder}/runs",
        "device=cpu",
        f"engine.dtype={dtype}",
        f"engine.cpu_threads={WORKERS}",
        f"data.root={material.shards}",
        "data.val_split=train",
        f"data.decode_threads={WORKERS}",
        f"augment.img_size={SIDE}",
        f"train.global_batch={BATCH}",
        f"train.micro_batch={BATCH}",
        f"model.num_classes={material.classes}",
        "tracking.uri=journal",
        "evaluate.every_epochs=1000",
        "checkpoint.every_epochs=1000",
    ]
    return load(ROOT / "configs/s12.yaml", [*settings, *overrides]).config


def run(material: Material, dtype: str, clock: Clock) -> None:
    """Train until the clock has seen enough steps; raises Enough."""
    steps = Loader.steps

    def ticking(self: Loader, start: int) -> Iterator[Step]:
        for step in steps(self, start):
            yield step
            clock.tick()

    Loader.steps = ticking  # type: ignore[method-assign]
    train(settings_of(material, dtype), World(), StopRequest(), "", {})
