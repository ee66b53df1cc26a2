"""Run by test_training in a process of its own: small trainings on one device, findings as JSON.

python -m tests.gpu.training_checks cuda|cpu FOLDER CHECK...

FOLDER is for checkpoints. The images are noise, other ones in each step of every training, but
the same in all trainings.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.checkpoint import Checkpoints, Progress
from pipeline.collective import Collective, connect
from pipeline.config.schema import Config
from pipeline.data.batches import Step
from pipeline.device import open_device
from pipeline.engine import MASTER, Engine
from pipeline.optim import build_optimizer
from pipeline.plan import make_plan
from pipeline.tracking.tracker import SilentTracker
from pipeline.train.start import start_model
from pipeline.world import World
from tests.dist.toy import DTYPES, SIDE, config_of, steps_of

LR = 1e-3
_SAMPLES = 1000


@dataclass(frozen=True)
class Size:
    """Of the trainings on a device; Triton's interpreter on the CPU takes seconds a block."""

    steps: int
    images: int
    network: dict[str, Any]
    repeated_kernels: tuple[str, ...]
    """Those of trainings that are repeated, resumed and checkpointed."""


SIZES = {
    "cuda": Size(
        6, 8, {"depths": [2, 2], "dims": [96, 192], "layer_scale_init": 0.1}, ("torch", "triton")
    ),
    "cpu": Size(4, 2, {"depths": [1], "dims": [8], "layer_scale_init": 0.1}, ("torch",)),
}


class Training:
    """The engine of a config, over the steps that all trainings have in common."""

    def __init__(self, config: Config, collective: Collective):
        self.device = open_device(config, World())
        self.config = config
        self.plan = make_plan(config, 1, _SAMPLES, 10)
        model = start_model(config, self.device)
        optimizer = build_optimizer(model, config.optim, LR)
        self._rates = model.drop_path_rates
        self.engine = Engine(model, optimizer, config, self.plan, collective)
        self.losses: list[float] = []

    def train(self, first: int, end: int) -> None:
        """Steps ``first`` to ``end`` - 1, of those that all have in common."""
        for step in self._steps(first, end):
            result = self.engine.train_step(step, LR)
            assert not result.is_skipped, f"step {step.number} was skipped"
            self.losses.append(float(result.losses.mean()))

    def state(self) -> dict[str, Tensor]:
        """Masters, moments and weights by name, on the CPU."""
        found: dict[str, Tensor] = {}
        for name, parameter in self.engine.parameters():
            for kind in self.engine.state.kinds(parameter):
                found[f"{kind}/{name}"] = self.engine.state.read(parameter, kind).cpu().clone()
        return found

    def blank_images(self) -> Tensor:
        dtype = DTYPES[self.config.engine.dtype]
        return torch.zeros(1, 3, SIDE, SIDE, device=self.device, dtype=dtype)

    def _steps(self, first: int, end: int) -> Iterator[Step]:
        for step in steps_of(self.config, self.plan, World(), self._rates, end)[first:]:
            slots = [
                replace(
                    slot,
                    images=slot.images.to(self.device, memory_format=torch.channels_last),
                    targets=slot.targets.to(self.device),
                    drop_path=None if slot.drop_path is None else slot.drop_path.to(self.device),
                )
                for slot in step.slots
            ]
            yield replace(step, slots=slots)


class Checks:
    """Each method is a check of its name; what it returns becomes JSON."""

    def __init__(self, device: str, folder: Path):
        self._device, self._folder, self._size = device, folder, SIZES[device]
        self._collective = connect(World(), "cuda" if device == "cuda" else "cpu", 600)

    def stages(self) -> dict[str, Any]:
        """Losses under each ZeRO stage."""
        return {str(stage): self._trained(stage=stage).losses for stage in range(4)}

    def alike(self) -> dict[str, Any]:
        """What differs between two trainings of one config."""
        return {
            kernels: _unequal(*(self._trained(kernels=kernels).state() for _ in range(2)))
            for kernels in self._size.repeated_kernels
        }

    def resumed(self) -> dict[str, Any]:
        """What differs from a training that was not interrupted."""
        return {
            f"{kernels}, stage {stage}": self._resumed(kernels, stage)
            for kernels in self._size.repeated_kernels
            for stage in (1, 3)
        }

    def checkpointed(self) -> dict[str, Any]:
        """What differs if blocks are computed again in the backward pass."""
        found: dict[str, Any] = {}
        for kernels in self._size.repeated_kernels:
            engine = {"grad_checkpointing": True}
            one, other = self._trained(kernels), self._trained(kernels, engine=engine)
            found[kernels] = _unequal(one.state(), other.state())
        return found

    def kernels(self) -> dict[str, Any]:
        """Losses by PyTorch and by this project's kernels."""
        return {
            dtype: {
                kernels: self._trained(kernels, dtype=dtype).losses
                for kernels in ("torch", "triton")
            }
            for dtype in ("bf16", "fp32")
        }

    def compiled(self) -> dict[str, Any]:
        """Losses without and with torch.compile."""
        return {
            "eager": self._trained().losses,
            "compiled": self._trained(engine={"compile": True}).losses,
        }

    def _resumed(self, kernels: str, stage: int) -> list[str]:
        whole = self._trained(kernels, stage)
        half = self._made(kernels, stage)
        middle = self._size.steps // 2
        half.train(0, middle)
        root = self._folder / f"{kernels}-{stage}"
        self._checkpoints(root, half).save(half.engine, Progress(middle, middle), must=True)
        # Another seed: other weights, which restoring has to replace.
        again = self._made(kernels, stage, seed=7)
        masters = [_masters(one.state()) for one in (half, again)]
        assert _unequal(*masters), "restoring would have nothing to do"
        progress = self._checkpoints(root, again).restore(again.engine, again.blank_images())
        again.train(progress.step, self._size.steps)
        losses = [] if half.losses + again.losses == whole.losses else ["losses"]
        return losses + _unequal(whole.state(), again.state())

    def _checkpoints(self, root: Path, training: Training) -> Checkpoints:
        config = training.config.checkpoint
        return Checkpoints(root, self._collective, config, SilentTracker())

    def _trained(self, *args: Any, **options: Any) -> Training:
        training = self._made(*args, **options)
        training.train(0, self._size.steps)
        return training

    def _made(
        self,
        kernels: str = "torch",
        stage: int = 1,
        dtype: str = "bf16",
        engine: dict[str, Any] | None = None,
        seed: int = 1,
    ) -> Training:
        case = f"{stage}-{dtype}-{self._size.images}-{self._size.images}"
        model = {"kernels": kernels, "metaformer": self._size.network}
        settings = config_of(case, model=model, engine=engine or {}).model_dump(mode="json")
        config = Config.model_validate_json(
            json.dumps(settings | {"device": self._device, "seed": seed})
        )
        return Training(config, self._collective)


def _masters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name.startswith(f"{MASTER}/")}


def _unequal(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of what is not the same to the last bit."""
    assert one.keys() == other.keys()
    return [name for name, value in one.items() if not torch.equal(value, other[name])]


def main() -> None:
    device, folder, *names = sys.argv[1:]
    # What DeepSpeed prints is none of the findings.
    findings = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    checks = Checks(device, Path(folder))
    findings.write(json.dumps({name: getattr(checks, name)() for name in names}))
    findings.flush()


if __name__ == "__main__":
    main()
