"""The command line of a training that takes two seconds on two ranks."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEPS = 14


def small_training(name: str, runs: Path, shards: Path, *overrides: str) -> list[object]:
    """Two micro-batches a step, eight steps an epoch, fp32; for ``python -m pipeline.train``."""
    return [
        ROOT / "configs/digits.yaml",
        f"name={name}",
        f"data.root={shards}",
        f"runs_root={runs}",
        f"train.max_steps={STEPS}",
        "train.global_batch=180",
        "train.micro_batch=90",
        "model.metaformer.depths=[1,1]",
        "model.metaformer.dims=[16,24]",
        "engine.dtype=fp32",
        "tracking.uri=journal",
        "tracking.every_steps=4",
        *overrides,
    ]
