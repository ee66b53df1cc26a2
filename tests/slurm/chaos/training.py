"""The training that is disturbed: its settings, and undisturbed ones to compare it with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.dist.kill_rounds import curve
from tests.dist.nursery import ROOT, Nursery

_MICRO_BATCH = 10


@dataclass(frozen=True)
class Training:
    """A small model on handwritten digits, in fp32."""

    shards: Path
    steps: int
    micro_batches: int
    """Of a step."""
    checkpoint_steps: int
    """Steps between checkpoints, all of which are kept."""

    def settings(self, name: str, runs: Path) -> list[str]:
        """As they stand on a command line, behind the config file."""
        global_batch = _MICRO_BATCH * self.micro_batches
        return [
            f"name={name}",
            f"data.root={self.shards}",
            f"runs_root={runs}",
            f"train.max_steps={self.steps}",
            # Enough for the steps, of which an epoch has 1,442 images' worth.
            f"train.epochs={2 + self.steps * global_batch // 1000}",
            f"train.global_batch={global_batch}",
            f"train.micro_batch={_MICRO_BATCH}",
            "augment.img_size=32",
            "model.metaformer.depths=[1,1]",
            "model.metaformer.dims=[16,24]",
            "model.metaformer.layer_scale_init=1.0",
            "optim.lr_base=5e-3",
            "optim.warmup_epochs=1",
            "engine.dtype=fp32",
            "evaluate.every_epochs=3",
            f"checkpoint.every_steps={self.checkpoint_steps}",
            "checkpoint.keep_last=1000",
            "tracking.every_steps=1",
            "tracking.system_every_s=5",
        ]


def train_undisturbed(
    nursery: Nursery, training: Training, world: int, saved_step: int | None, runs: Path
) -> Path:
    """Run it on ``world`` ranks; saved_step: where it leaves a checkpoint besides its end."""
    every = f"checkpoint.every_steps={saved_step or 'null'}"
    _train(nursery, world, "pipeline.train", "undisturbed", training, runs, every)
    return runs / "undisturbed"


def train_nudged(nursery: Nursery, training: Training, nudges: int, runs: Path) -> list[Path]:
    """Run it on one rank as it is, and so often with one weight an ulp off, each another one."""
    ranks, module = 1 + nudges, "tests.slurm.chaos.nudged"
    _train(nursery, ranks, module, "alone", training, runs, "checkpoint.every_steps=null")
    return [runs / f"alone-{number}" for number in range(ranks)]


def _train(
    nursery: Nursery, ranks: int, module: str, name: str, training: Training, runs: Path, saved: str
) -> None:
    words = [ROOT / "configs/digits.yaml", *training.settings(name, runs), saved]
    quiet = ("tracking.uri=journal", "checkpoint.every_epochs=1000")
    nursery.results(ranks, module, *words, *quiet, timeout_s=600)


def final_logits(nursery: Nursery, training: Training, runs: Sequence[Path]) -> list[Tensor]:
    """(images, classes) fp32 for the validation split, by the last checkpoint of each run."""
    out = runs[0].parent / "logits.safetensors"
    nursery.results(1, "tests.slurm.chaos.answers", training.shards, out, *runs)
    found = load_file(out)
    return [found[str(number)] for number in range(len(runs))]


def losses(run: Path) -> Tensor:
    """(steps,) fp64: the mean loss of every step; journaled by each."""
    points = curve(run)["train/loss"]
    return torch.tensor([points[step] for step in sorted(points)], dtype=torch.float64)
