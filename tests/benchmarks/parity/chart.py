"""The comparison of bf16 with fp32 as an SVG."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.parity.cases import Case
from tests.benchmarks.parity.results import Outcome
from tests.benchmarks.parity.seeds import SEEDS, WORLDS, by_world, in_fp32

_NAMES = {
    "fp32": "reduced in fp32 (this project)",
    "bf16": "accumulated and reduced in bf16",
    "none": "not reduced (as in issue 3979)",
}
_COLOURS = {"fp32": "#0072b2", "bf16": "#e69f00", "none": "#d55e00"}
_MARKERS = {"fp32": "o", "bf16": "s", "none": "^"}


def draw(outcomes: Mapping[Case, Outcome], path: Path) -> None:
    """Left the training loss of one seed on all worlds, right the final scores over the ranks."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "parity", "font.size": 10}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13.5, 4.4), layout="constrained")
    figure.suptitle(
        "bf16 beside fp32: digits, small PoolFormer, ZeRO stage 1, 12 micro-batches per step, "
        f"{len(SEEDS)} seeds"
    )
    _curves(axes[0], outcomes)
    _over_ranks(axes[1], outcomes, "train_loss", "training loss, mean of the last epoch")
    _over_ranks(axes[2], outcomes, "top1", "top-1 of the validation split, %")
    axes[2].legend(fontsize=8, loc="lower left")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _curves(axis: Any, outcomes: Mapping[Case, Outcome]) -> None:
    runs = [outcomes[Case(1, seed=seed)].mean_curve().numpy() for seed in SEEDS]
    low, high = np.min(runs, axis=0), np.max(runs, axis=0)
    steps = np.arange(1, len(low) + 1)
    axis.fill_between(steps, low, high, color="0.85", label=f"fp32, all {len(SEEDS)} seeds")
    axis.plot(steps, runs[0], color="black", linewidth=2.5, label=f"fp32, seed {SEEDS[0]}")
    styles = ("-", "--", "-.", ":")
    for world, style in zip(WORLDS["fp32"], styles, strict=True):
        curve = outcomes[Case(world, dtype="bf16", seed=SEEDS[0])].mean_curve().numpy()
        ranks = "1 rank" if world == 1 else f"{world} ranks"
        axis.plot(steps, curve, style, linewidth=1.2, label=f"bf16, seed {SEEDS[0]}, {ranks}")
    axis.set_xlabel("optimizer step")
    axis.set_ylabel("training loss (mixup, cutmix, erasing, drop path)")
    axis.legend(fontsize=8)


def _over_ranks(axis: Any, outcomes: Mapping[Case, Outcome], measure: str, label: str) -> None:
    reference = in_fp32(outcomes, measure)
    mean, deviation = statistics.mean(reference), statistics.stdev(reference)
    axis.axhspan(mean - deviation, mean + deviation, color="0.85", label="fp32 ± 1 deviation")
    axis.axhline(mean, color="black", linewidth=1, label="fp32, mean of the seeds")
    for shift, reduction in enumerate(WORLDS):
        worlds = by_world(outcomes, reduction, measure)
        axis.errorbar(
            [world * 1.04 ** (shift - 1) for world in worlds],
            [statistics.mean(values) for values in worlds.values()],
            [statistics.stdev(values) for values in worlds.values()],
            color=_COLOURS[reduction],
            marker=_MARKERS[reduction],
            capsize=3,
            label=f"bf16, {_NAMES[reduction]}",
        )
    axis.set_xscale("log", base=2)
    axis.set_xticks(WORLDS["fp32"], [str(world) for world in WORLDS["fp32"]])
    axis.minorticks_off()
    axis.set_xlabel("ranks")
    axis.set_ylabel(label)
