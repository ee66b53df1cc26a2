"""What is compared: models, stages, dtypes and worlds, and the config of each. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config, load

ROOT = Path(__file__).resolve().parents[3]
STAGES = (0, 1, 2, 3)
SIDE_PIXELS = 32
EPOCHS = 8
"""Of 15 steps of 96 images: 120 steps."""

# Rows of the comparison, by what they add to the base. Mixup, cutmix, erasing and drop path are
# on in all of them. 12 micro-batches suit 1, 2, 3 and 4 ranks; of 10 some ranks have one less.
ROWS = {
    "pooling": (),
    "uneven": ("train.global_batch=80",),
    "batch_norm": ("model.metaformer.norm=batch_norm",),
    "large": ("model.metaformer.depths=[2,2]", "model.metaformer.dims=[96,192]"),
}


@dataclass(frozen=True)
class Case:
    """One training. Its fields are words of a task that reaches the ranks as JSON."""

    world: int
    zero_stage: int = 1
    dtype: str = "fp32"
    row: str = "pooling"
    accumulates: bool = True
    """Several micro-batches per rank; else one, as large as it takes."""
    reduction: str = "fp32"
    """What gradients are reduced in: fp32 as in the pipeline, bf16, or none: see ``faults``."""
    seed: int = 42

    @property
    def name(self) -> str:
        """Distinct for every case; the part behind the last ``@`` is the world."""
        slots = "" if self.accumulates else "-single"
        reduction = "" if self.reduction == "fp32" else f"-{self.reduction}-reduction"
        return (
            f"{self.row}-{self.dtype}-zero{self.zero_stage}{slots}{reduction}"
            f"-seed{self.seed}@{self.world}"
        )


@dataclass(frozen=True)
class Task:
    """What is to be done with a case."""

    case: Case
    steps: int
    states: Sequence[int] = ()
    """States of the plain training of this row, by number, to take one step from."""
    evaluates: bool = False
    """Score the validation split in the end."""
    weighs: bool = False
    """Count the memory instead of all else."""


def config_of(case: Case, shards: Path, steps: int) -> Config:
    """The demo's config on a smaller model, with all of the recipe's augmentation that suits it."""
    overrides = [
        f"data.root={shards}",
        f"seed={case.seed}",
        f"engine.dtype={case.dtype}",
        f"engine.zero_stage={case.zero_stage}",
        f"train.max_steps={steps}",
        f"train.epochs={EPOCHS}",
        "train.global_batch=96",
        f"augment.img_size={SIDE_PIXELS}",
        "augment.mixup=0.8",
        "augment.cutmix=1.0",
        "augment.reprob=0.25",
        "model.drop_path=0.2",
        "model.metaformer.depths=[1,1]",
        "model.metaformer.dims=[24,48]",
        "model.metaformer.layer_scale_init=1.0",
        "optim.lr_base=5e-3",
        "optim.warmup_epochs=1",
        *ROWS[case.row],
    ]
    batch = 80 if case.row == "uneven" else 96
    overrides.append(f"train.micro_batch={8 if case.accumulates else batch // case.world}")
    return load(ROOT / "configs/digits.yaml", overrides).config


def stage_cases(worlds: Iterable[int]) -> Iterator[Case]:
    """All stages and dtypes that DeepSpeed allows. bf16 at stage 0 accumulates nothing."""
    for world in worlds:
        for stage in STAGES:
            yield Case(world, stage)
            if stage:
                yield Case(world, stage, "bf16")
            yield Case(world, stage, "bf16", accumulates=False)


def world_cases(rows: Iterable[str], worlds: Iterable[int]) -> Iterator[Case]:
    """The default stage on every world, for each row and dtype."""
    for row in rows:
        for world in worlds:
            for dtype in ("fp32", "bf16"):
                yield Case(world, dtype=dtype, row=row)
