"""This project's training step: model, optimizer and engine as the training loop makes them."""

import torch

from pipeline.collective import Collective
from pipeline.data.augment.drop_path import drop_path_scales, torch_seed
from pipeline.data.augment.mixing import draw_mix
from pipeline.data.batches import MicroBatch, Step
from pipeline.data.mix import DTYPES, Normaliser, mixed_targets
from pipeline.device import open_device
from pipeline.engine import Engine
from pipeline.models.metaformer import MetaFormer
from pipeline.optim import build_optimizer
from pipeline.plan import make_plan
from pipeline.train.start import start_model
from pipeline.world import World
from tests.benchmarks.gpu.rungs import Rung
from tests.benchmarks.gpu.scale import Scale

_IMAGES = 1_281_167
"""Of ImageNet: what a plan wants to know of data that is not there."""
_LR = 1e-5
_READY_STEPS = 2


class Ours:
    """The engine over steps that lie on the device, as the loader would have made them."""

    waited_s = 0.0

    def __init__(self, rung: Rung, scale: Scale, collective: Collective, *overrides: str):
        self.batch, self.warm_up_steps = scale.batch_of(rung), scale.warm_up_steps(2)
        self.config = scale.config_of(rung, *overrides)
        self.device = open_device(self.config, World())
        self.plan = make_plan(self.config, 1, _IMAGES, 1)
        model = start_model(self.config, self.device)
        if rung.parts and rung.parts != "rule":
            assert isinstance(model, MetaFormer)
            model.use_kernels("triton", rung.parts)
        self.rates = model.drop_path_rates
        optimizer = build_optimizer(model, self.config.optim, self.plan.lr_peak)
        self.engine = Engine(model, optimizer, self.config, self.plan, collective)
        self._ready = [self._synthetic(number) for number in range(_READY_STEPS)]
        self._made = 0
        self._losses = torch.zeros(1, device=self.device)
        self._skipped = 0

    def step(self) -> None:
        """One optimizer step of the engine."""
        self.train(self._ready[self._made % _READY_STEPS])

    def train(self, step: Step) -> None:
        """One optimizer step over given images."""
        result = self.engine.train_step(step, _LR)
        self._made += 1
        self._losses = result.losses
        self._skipped += result.is_skipped

    def check(self) -> None:
        """Raises ValueError where a step was skipped or a loss is not finite."""
        if self._skipped or not bool(torch.isfinite(self._losses).all()):
            raise ValueError(
                f"{self._skipped} of {self._made} steps were skipped, last loss {self._losses}"
            )

    def _synthetic(self, number: int) -> Step:
        """Random pixels and labels, mixed, normalised and dropped as in a training."""
        config, augment, side = self.config, self.config.augment, self.config.augment.img_size
        draw = torch.Generator(self.device).manual_seed(number)
        pixels = torch.randint(
            256, (self.batch, side, side, 3), dtype=torch.uint8, device=self.device, generator=draw
        )
        labels = torch.randint(
            config.model.num_classes, (self.batch,), device=self.device, generator=draw
        )
        mix = draw_mix(augment, config.seed, number, 0)
        dtype = DTYPES[config.engine.dtype]
        normalised = Normaliser(augment, self.device, dtype)
        scales = drop_path_scales(self.rates, config.seed, number, 0, self.batch)
        slot = MicroBatch(
            index=0,
            images=normalised(pixels, mix),
            targets=labels if mix is None else mixed_targets(labels, mix, config.model.num_classes),
            drop_path=torch.from_numpy(scales).to(self.device, dtype),
            torch_seed=torch_seed(config.seed, number, 0),
        )
        return Step(number, [slot], 0.0)
