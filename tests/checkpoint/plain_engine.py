"""What checkpoints see of an engine, without DeepSpeed: tensors that a seed fills."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

KINDS = ("master", "exp_avg", "exp_avg_sq", "average")
IMAGES = torch.zeros(1, 3, 8, 8)


class PlainEngine:
    """Stands for pipeline.engine.Engine, and for its ``state``."""

    def __init__(self, seed: int):
        self.module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))
        self.state = self
        self.updates = 0
        self._tensors: dict[str, Tensor] = {}
        self.fill(seed)

    def fill(self, seed: int) -> None:
        """Make all of it what the seed says, as a training would change all of it."""
        draws = torch.Generator().manual_seed(seed)
        for name, parameter in self.parameters():
            for kind in KINDS:
                self._tensors[f"{kind}/{name}"] = torch.randn(parameter.shape, generator=draws)
        for buffer in self.module.buffers():
            buffer.copy_(torch.rand(buffer.shape, generator=draws) * 100)
        self.updates = seed

    def everything(self) -> dict[str, Tensor]:
        """By name: all that a checkpoint must bring back."""
        return {**self._tensors, **dict(self.module.named_buffers())}

    def equals(self, seed: int) -> bool:
        """To the last bit, what the seed says?"""
        ours, theirs = self.everything(), PlainEngine(seed).everything()
        return self.updates == seed and all(torch.equal(ours[name], theirs[name]) for name in ours)

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self.module.named_parameters()

    def kinds(self, parameter: nn.Parameter) -> tuple[str, ...]:
        return KINDS

    def read(self, parameter: nn.Parameter, kind: str) -> Tensor:
        return self._tensors[f"{kind}/{self._name(parameter)}"]

    def write(self, parameter: nn.Parameter, kind: str, value: Tensor) -> None:
        self._tensors[f"{kind}/{self._name(parameter)}"].copy_(value)

    def set_update_count(self, updates: int) -> None:
        self.updates = updates

    def create_moments(self, images: Tensor) -> None:
        assert images is IMAGES

    def _name(self, parameter: nn.Parameter) -> str:
        return next(name for name, other in self.parameters() if other is parameter)
