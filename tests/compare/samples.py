"""Runs that nobody trained: curves of a plausible shape, for whatever shows runs."""

import zlib
from collections.abc import Mapping

import numpy as np

from pipeline.compare.reading.load import assemble_run
from pipeline.compare.run import Curve, Run
from pipeline.tracking.lifecycle import Status

EVERY_STEPS = 10
GLOBAL_BATCH = 4096
STEPS_PER_EPOCH = 312


def sample_run(
    name: str,
    settings: Mapping[str, str] | None = None,
    *,
    seed: int = 0,
    top1: float = 76.0,
    points: int = 300,
    status: Status = "FINISHED",
    evaluations: int = 20,
) -> Run:
    """A run of ``points`` journaled steps that ends at about ``top1`` percent."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    steps = np.arange(1, points + 1, dtype=np.int64) * EVERY_STEPS
    share = steps / max(1, points * EVERY_STEPS)
    loss = 6.9 * np.exp(-4 * share) + 2.4 - 0.01 * top1 + 0.12 * rng.standard_normal(points)
    curves = {
        "train/loss": Curve(steps, loss),
        "train/lr": Curve(steps, 4e-3 * 0.5 * (1 + np.cos(np.pi * share))),
        "train/grad_norm": Curve(steps, 1 + rng.gamma(2, 0.3, points)),
        "perf/img_per_s": Curve(steps, 12_000 + 150 * rng.standard_normal(points)),
        "perf/data_wait_pct": Curve(steps, rng.gamma(1, 0.5, points)),
        "progress/epoch": Curve(steps, steps / STEPS_PER_EPOCH),
        "progress/images": Curve(steps, steps * float(GLOBAL_BATCH)),
    }
    seconds = Curve(steps, np.cumsum(3.4 + 0.1 * rng.random(points)))
    curves["progress/gpu_hours"] = Curve(steps, seconds.values * 8 / 3600)
    if evaluations:
        at = np.unique(np.linspace(0, points - 1, evaluations + 1).astype(int)[1:])
        score = top1 * (1 - np.exp(-5 * share[at])) + 0.15 * rng.standard_normal(len(at))
        curves["val/top1"] = Curve(steps[at], score)
        curves["val/top5"] = Curve(steps[at], np.minimum(99.9, score + 18))
        curves["val/loss"] = Curve(steps[at], 5.2 - 0.055 * score)
    texts = {"seed": str(seed), "train.global_batch": str(GLOBAL_BATCH), "train.epochs": "300"}
    return assemble_run(
        name=name,
        settings=texts | dict(settings or {}),
        tags={"git_commit": "0123456789abcdef"},
        curves={key: curve for key, curve in curves.items() if len(curve)},
        seconds=seconds,
        status=status,
        folder=None,
        mlflow_run_id=None,
        experiment="samples",
        digests={"imagenet1k-train": "ab" * 32, "imagenet1k-validation": "cd" * 32},
        worlds=(8,),
        gpu_hours=float(seconds.values[-1]) * 8 / 3600 if points else None,
        wall_s=float(seconds.values[-1]) if points else None,
    )


def sample_sweep(groups: int, seeds: int, points: int = 300) -> list[Run]:
    """Learning rates and token mixers, each with its seeds; the first is the baseline."""
    mixers = ("pooling", "identity", "attention", "random", "sep_conv")
    runs = []
    for group in range(groups):
        mixer, rate = mixers[group % len(mixers)], 4e-3 / (1 + group // len(mixers))
        settings = {
            "model.metaformer.token_mixers": mixer,
            "model.drop_path": f"{0.1 * (group % 3):g}",
            "optim.lr_base": f"{rate:g}",
        }
        top1 = 76 + 1.5 * np.sin(1.7 * group) - 0.15 * (group // len(mixers))
        for seed in range(seeds):
            name = f"s12-{mixer}-lr{rate:.2g}-{group}" + (f"-seed{seed}" if seeds > 1 else "")
            drift = 0.25 * np.random.default_rng([group, seed]).standard_normal()
            runs.append(
                sample_run(
                    name,
                    settings,
                    seed=seed + (0 if seeds > 1 else 42),
                    top1=top1 + drift,
                    points=points,
                )
            )
    return runs
