"""bf16 beside fp32 over seeds and worlds: is it worse, does it fall with the ranks? Pure.

Each seed is another training; the same seed on another world is the same training up to
rounding. So the distance from fp32 is held against the spread over the seeds, and the trend is
that of each seed's own line over log2(ranks).
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scipy.stats import linregress, ttest_1samp

from tests.benchmarks.parity.cases import Case
from tests.benchmarks.parity.judge import Check
from tests.benchmarks.parity.results import Outcome

SEEDS = (42, 43, 44, 45, 46)
WORLDS = {"fp32": (1, 2, 4, 8), "bf16": (1, 2, 4), "none": (1, 2, 4)}
"""By what gradients are reduced in; fp32 is the pipeline's own, the others are for comparison."""
LAST_STEPS = 15
"""One epoch: the training loss is their mean."""
MEASURES = ("train_loss", "val_loss", "top1")
CERTAINTY = 0.01
"""A trend is believed where chance alone would show one as clear less often than this."""


def seed_cases(world: int) -> Iterator[Case]:
    """fp32 on one rank; bf16 on all worlds, reduced in each way."""
    for seed in SEEDS:
        if world == 1:
            yield Case(1, seed=seed)
        for reduction, worlds in WORLDS.items():
            # One rank has nothing to reduce: "none" is "fp32" there.
            if world in worlds and (world, reduction) != (1, "none"):
                yield Case(world, dtype="bf16", reduction=reduction, seed=seed)


def scores(outcome: Outcome) -> dict[str, float]:
    """The measures of one training; losses are means, top-1 is in percent."""
    return {
        "train_loss": float(outcome.mean_curve()[-LAST_STEPS:].mean()),
        "val_loss": outcome.facts["loss"],
        "top1": outcome.facts["top1"],
    }


def by_world(
    outcomes: Mapping[Case, Outcome], reduction: str, measure: str
) -> dict[int, list[float]]:
    """Of bf16, per world a value for each seed."""
    found: dict[int, list[float]] = {}
    for world in WORLDS[reduction]:
        kind = "fp32" if world == 1 and reduction == "none" else reduction
        cases = [Case(world, dtype="bf16", reduction=kind, seed=seed) for seed in SEEDS]
        found[world] = [scores(outcomes[case])[measure] for case in cases]
    return found


def in_fp32(outcomes: Mapping[Case, Outcome], measure: str) -> list[float]:
    """A value for each seed."""
    return [scores(outcomes[Case(1, seed=seed)])[measure] for seed in SEEDS]


def findings(outcomes: Mapping[Case, Outcome]) -> dict[str, Any]:
    """Means, spreads and trends of all reductions, for the record."""
    found: dict[str, Any] = {}
    for measure in MEASURES:
        reference = in_fp32(outcomes, measure)
        found[measure] = {
            "fp32": _mean_and_deviation(reference),
            **{
                "bf16_not_reduced" if reduction == "none" else f"bf16_reduced_in_{reduction}": {
                    "ranks": {
                        str(world): _mean_and_deviation(values)
                        for world, values in by_world(outcomes, reduction, measure).items()
                    },
                    **trend(by_world(outcomes, reduction, measure)),
                }
                for reduction in WORLDS
            },
        }
    return found


def seed_checks(outcomes: Mapping[Case, Outcome]) -> Iterator[Check]:
    """Of the pipeline's own reduction."""
    for measure in MEASURES:
        reference = in_fp32(outcomes, measure)
        noise = statistics.stdev(reference)
        worlds = by_world(outcomes, "fp32", measure)
        for world, values in worlds.items():
            gap = abs(statistics.mean(values) - statistics.mean(reference))
            yield Check(
                f"{measure}: bf16 from fp32, in seed noise", f"{world} ranks", gap / noise, 1.0
            )
        line = trend(worlds)
        change = abs(line["change_from_first_to_last"]) / noise
        yield Check(f"{measure}: change with the ranks, in seed noise", "1 to 8 ranks", change, 1.0)
        yield Check(
            f"{measure}: certainty of a trend", "1 to 8 ranks", 1 - line["p"], 1 - CERTAINTY
        )


def trend(worlds: Mapping[int, Sequence[float]]) -> dict[str, float]:
    """Change along the seeds' fitted lines over log2(ranks), and the chance of one as clear."""
    ranks = [math.log2(world) for world in worlds]
    slopes = [float(linregress(ranks, line).slope) for line in zip(*worlds.values(), strict=True)]
    # All seeds alike: no spread to hold a slope against, and none there if it is zero.
    p = float(ttest_1samp(slopes, 0.0).pvalue) if len(set(slopes)) > 1 else float(not any(slopes))
    change = statistics.mean(slopes) * (ranks[-1] - ranks[0])
    return {"change_from_first_to_last": change, "p": p}


def _mean_and_deviation(values: Iterable[float]) -> dict[str, float]:
    values = list(values)
    return {
        "mean": round(statistics.mean(values), 5),
        "deviation": round(statistics.stdev(values), 5),
    }
