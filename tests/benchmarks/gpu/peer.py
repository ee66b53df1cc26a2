"""timm's PoolFormer under the parts of timm's own training loop: autocast and AdamW, no ZeRO."""

from typing import Any

import timm
import torch
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2

from tests.benchmarks.gpu.rungs import Rung
from tests.benchmarks.gpu.scale import Scale

_READY_BATCHES = 2
MEMORY_FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


class Peer:
    """As timm's train.py with --amp --amp-dtype bfloat16, over batches that lie on the device.

    Its AdamW is the fused one, the faster of those that timm offers; its weights are fp32, and
    autocast keeps norms and the residual stream in fp32.
    """

    waited_s = 0.0

    def __init__(self, rung: Rung, scale: Scale):
        self.batch, self.warm_up_steps = scale.batch_of(rung), scale.warm_up_steps(2)
        self.device = torch.device(scale.device)
        if scale.device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.benchmark = True
        torch.manual_seed(42)
        config = scale.config_of(rung)
        classes, side = config.model.num_classes, config.augment.img_size
        order = MEMORY_FORMATS[rung.memory_format]
        model = timm.create_model(
            f"poolformer_{scale.timm_size(rung)}",
            num_classes=classes,
            drop_path_rate=config.model.drop_path,
        ).to(self.device, memory_format=order)
        self._optimizer = create_optimizer_v2(
            model, opt="adamw", lr=1e-3, weight_decay=0.05, fused=True
        )
        compiled: Any = model
        if rung.compile_mode:
            compiled = torch.compile(model, mode=rung.compile_mode)
        self._model = compiled.train()
        self._criterion = SoftTargetCrossEntropy()
        draw = torch.Generator(self.device).manual_seed(1)
        self._ready = [
            (
                torch.randn(
                    self.batch, 3, side, side, device=self.device, generator=draw
                ).contiguous(memory_format=order),
                torch.rand(self.batch, classes, device=self.device, generator=draw).softmax(1),
            )
            for _ in range(_READY_BATCHES)
        ]
        self._made = 0
        self._loss = torch.zeros((), device=self.device)

    def step(self) -> None:
        """Forward, backward, update."""
        images, targets = self._ready[self._made % _READY_BATCHES]
        self._made += 1
        with torch.autocast(self.device.type, torch.bfloat16):
            self._loss = self._criterion(self._model(images), targets)
        self._loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()

    def check(self) -> None:
        """Raises ValueError where the loss is not finite."""
        if not bool(torch.isfinite(self._loss)):
            raise ValueError(f"timm's loss is {float(self._loss)} after {self._made} steps")
