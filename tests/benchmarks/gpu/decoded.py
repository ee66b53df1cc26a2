"""The same training fed by the real loader, beside steps that lie on the device."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.collective import Collective
from pipeline.data.batches import Step
from pipeline.data.loader import Loader
from pipeline.plan import make_plan, open_splits
from pipeline.shards import open_split
from pipeline.world import cpus_at_hand
from tests.benchmarks.gpu.ours import Ours
from tests.benchmarks.gpu.rungs import Rung
from tests.benchmarks.gpu.scale import Scale

_SPLIT = "train"


class Decoded:
    """JPEGs that are read, decoded, augmented with the config's whole recipe, and trained on.

    ``synthetic`` trains with the same engine; while it does, the loader fills its few places
    and then rests.
    """

    def __init__(self, rung: Rung, scale: Scale, collective: Collective, shards: Path):
        classes = len(open_split(str(shards), _SPLIT).classes)
        self.synthetic = Ours(
            rung,
            scale,
            collective,
            f"data.root={shards}",
            f"data.train_split={_SPLIT}",
            f"data.val_split={_SPLIT}",
            f"data.decode_threads={min(8, cpus_at_hand())}",
            f"model.num_classes={classes}",
        )
        self.batch, self.device = self.synthetic.batch, self.synthetic.device
        # More than the loader keeps ready: what was prepared during a rest is not measured.
        self.warm_up_steps, self.waited_s = scale.warm_up_steps(12), 0.0
        self._steps = self._loaded()

    def step(self) -> None:
        """One optimizer step over the loader's next images."""
        step = next(self._steps)
        self.waited_s += step.wait_s
        self.synthetic.train(step)

    def check(self) -> None:
        """Raises ValueError as Ours does."""
        self.synthetic.check()

    def _loaded(self) -> Iterator[Step]:
        config = self.synthetic.config
        splits = open_splits(config)
        plan = make_plan(config, 1, *map(len, splits))
        loader = Loader(config, plan, 0, self.device, *splits, self.synthetic.rates)
        return loader.steps(0)
