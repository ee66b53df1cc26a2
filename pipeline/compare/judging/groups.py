"""Runs of one config are seeds of one group; what is compared are groups."""

import functools
import itertools
import math
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from statistics import mean, stdev
from typing import NamedTuple

from pipeline.compare.run import Run
from pipeline.config.flatten import free_settings

SEED = "seed"


class Spread(NamedTuple):
    """Mean and sample standard deviation over ``n`` seeds; ``std`` is None where n = 1."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ in the seed, and in where and how often they do things, only.

    ``settings`` are those of the config that decide the result, without the seed. ``counted``
    are the runs behind every Spread, one per seed: those that ran all their epochs if any did,
    else those that finished early on purpose, unless another went further, else all.
    """

    label: str
    runs: tuple[Run, ...]
    counted: tuple[Run, ...]
    settings: dict[str, str]
    best_top1: Spread | None
    final_top1: Spread | None
    final_top5: Spread | None
    final_ema_top1: Spread | None
    final_val_loss: Spread | None
    last_train_loss: Spread | None
    gpu_hours: Spread | None
    images: Spread | None
    wall_s: Spread | None
    images_per_second: Spread | None
    mfu: Spread | None

    @property
    def code(self) -> str:
        """The commits of its runs."""
        return ", ".join(dict.fromkeys(run.code or "unknown" for run in self.runs))

    @property
    def data(self) -> tuple[tuple[str, str], ...]:
        """``(<dataset>-<split>, sha256)``; empty where no run of it has read data."""
        known = {name: digest for run in self.runs for name, digest in run.digests.items()}
        return tuple(sorted(known.items()))


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups in the order of their first runs: same settings but the seed, and same data.

    Runs of one seed on different code are a comparison of the code, so they part as well.
    """
    configs: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    unknown: list[list[Run]] = []
    for run in runs:
        if run.settings:
            configs.setdefault(tuple(sorted(deciding_settings(run).items())), []).append(run)
        else:
            unknown.append([run])  # one that waits for its first start has none yet
    found = [part for config in configs.values() for part in _by_data(config)] + unknown
    parts = [part for same in found for part in _by_code(same)]
    parts.sort(key=lambda part: runs.index(part[0]))
    labels = _labels(parts)
    return [_group(label, part) for label, part in zip(labels, parts, strict=True)]


def deciding_settings(run: Run) -> dict[str, str]:
    """The settings that the results depend on, but the seed."""
    free = _free_settings()
    return {key: text for key, text in run.settings.items() if key not in free and key != SEED}


def repeats_of(group: Group) -> list[list[Run]]:
    """The runs of one seed, where there are several: copies, since training is deterministic."""
    seeds: dict[str | None, list[Run]] = {}
    for run in group.runs:
        seeds.setdefault(run.seed, []).append(run)
    return [same for same in seeds.values() if len(same) > 1]


def one_per_seed(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Of copies the one that went furthest: they are one sample."""
    by_seed: dict[str | None, Run] = {}
    for run in runs:
        known = by_seed.get(run.seed)
        if known is None or (run.last_step or 0) > (known.last_step or 0):
            by_seed[run.seed] = run
    return tuple(by_seed.values())


def spread(values: Sequence[float | None]) -> Spread | None:
    """Over the values that are finite numbers; None without any."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    return Spread(mean(known), stdev(known) if len(known) > 1 else None, len(known))


def best_values(group: Group) -> list[float]:
    """Best top-1 of each counted run that has one, in percent."""
    return [run.best.top1 for run in group.counted if run.best is not None]


@functools.cache
def _free_settings() -> frozenset[str]:
    return free_settings()


def _by_data(runs: list[Run]) -> list[list[Run]]:
    """What a run has not read, or not told, parts it from nobody."""
    parts: list[tuple[dict[str, str], list[Run]]] = []
    for run in runs:
        for known, part in parts:
            if all(known.get(name, digest) == digest for name, digest in run.digests.items()):
                known.update(run.digests)
                part.append(run)
                break
        else:
            parts.append((dict(run.digests), [run]))
    return [part for _, part in parts]


def _by_code(runs: list[Run]) -> list[list[Run]]:
    codes: dict[str | None, set[str]] = {}
    for run in runs:
        codes.setdefault(run.seed, set()).update([run.code] if run.code else [])
    if all(len(found) <= 1 for found in codes.values()):
        return [runs]
    first = next((run.code for run in runs if run.code), None)
    parts: dict[str | None, list[Run]] = {}
    for run in runs:
        parts.setdefault(run.code or first, []).append(run)
    return list(parts.values())


def _group(label: str, runs: Sequence[Run]) -> Group:
    counted = _counted(runs)

    def over(value: Callable[[Run], float | None]) -> Spread | None:
        return spread([value(run) for run in counted])

    return Group(
        label=label,
        runs=tuple(runs),
        counted=counted,
        settings=deciding_settings(runs[0]),
        best_top1=over(lambda run: None if run.best is None else run.best.top1),
        final_top1=over(lambda run: run.final_top1),
        final_top5=over(lambda run: run.final_top5),
        final_ema_top1=over(lambda run: run.final_ema_top1),
        final_val_loss=over(lambda run: run.final_val_loss),
        last_train_loss=over(lambda run: run.last_train_loss),
        gpu_hours=over(lambda run: run.gpu_hours),
        images=over(lambda run: run.images),
        wall_s=over(lambda run: run.wall_s),
        images_per_second=over(lambda run: run.images_per_second),
        mfu=over(lambda run: run.mfu),
    )


def _counted(runs: Sequence[Run]) -> tuple[Run, ...]:
    measured = [run for run in runs if run.has_metrics]
    if complete := [run for run in measured if run.is_complete]:
        return one_per_seed(complete)
    finished = [run for run in measured if run.status == "FINISHED"]
    furthest = max((run.last_step or 0 for run in measured), default=0)
    has_gone_furthest = any(run.last_step == furthest for run in finished)
    return one_per_seed(finished if has_gone_furthest else measured)


def _labels(parts: Sequence[Sequence[Run]]) -> list[str]:
    names = {run.name for part in parts for run in part}
    return [_label(part, names - {run.name for run in part}) for part in parts]


def _label(runs: Sequence[Run], others: Set[str]) -> str:
    """What the names have in common, without the word for the seed at its end.

    Where that could mean others too, the first name and how many there are besides.
    """
    if len(runs) == 1:
        return runs[0].name
    common = _common_start([run.name for run in runs])
    common = re.sub(r"([-_.](seed|s))?[-_.=]?\d*$", "", common).rstrip("-_.")
    if len(common) < 3 or any(name.startswith(common) for name in others):
        return f"{runs[0].name} +{len(runs) - 1}"
    return common


def _common_start(names: Sequence[str]) -> str:
    letters = zip(*names, strict=False)
    return "".join(same[0] for same in itertools.takewhile(lambda s: len(set(s)) == 1, letters))
