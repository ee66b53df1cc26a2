"""Runs that nobody trained, for the paper's tables: a config's settings, and a top-1."""

from pathlib import Path

import numpy as np

from pipeline.compare.reading.load import assemble_run
from pipeline.compare.run import Curve, Run
from pipeline.config import dotted, load
from pipeline.config.load import show
from pipeline.tracking.lifecycle import Status

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
IMAGENET_EPOCH = 312 * 4096


def paper_run(
    config: str,
    *overrides: str,
    top1: float | None = 77.0,
    best: float | None = None,
    epochs: float | None = None,
    status: Status = "FINISHED",
    base: Path | None = None,
    epoch_images: int = IMAGENET_EPOCH,
    commit: str = "c0ffee" * 6,
    digest: str = "ab" * 32,
) -> Run:
    """A run of a file of configs/ that has done ``epochs``, by default all, and its top-1 there.

    best: top-1 half-way. top1 None: it has journaled nothing yet.
    """
    settings = load(CONFIGS / config, overrides, base).config
    planned = settings.train.epochs + settings.optim.cooldown_epochs
    done = planned if epochs is None else epochs
    steps = np.array([100, 200], dtype=np.int64)
    shares = np.array([done / 2, done])
    curves = {
        "val/top1": Curve(steps, np.array([top1 if best is None else best, top1])),
        "progress/epoch": Curve(steps, shares),
        "progress/images": Curve(steps, shares * epoch_images),
    }
    return assemble_run(
        name=settings.name,
        settings={key: show(value) for key, value in dotted(settings).items()},
        tags={"git_commit": commit},
        curves={} if top1 is None else curves,
        seconds=Curve(steps, np.array([50.0, 100.0])),
        status=status,
        folder=None,
        mlflow_run_id=None,
        experiment=None,
        digests={"imagenet1k-train": digest, "imagenet1k-validation": "cd" * 32},
        worlds=(8,),
        gpu_hours=None,
        wall_s=None,
    )
