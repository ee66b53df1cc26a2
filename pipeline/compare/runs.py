"""Read run folders: what each run was set to do, and what came of it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pipeline.config.load import show
from pipeline.config.yaml_tree import read_tree
from pipeline.errors import UserError
from pipeline.tracking.journal import Record, metric_values, read_journal
from pipeline.tracking.lifecycle import Lifecycle, Status
from pipeline.tracking.run_folder import RunFolder

ABSENT = "–"
CODE = "(code)"
"""Row of the git commit among the settings."""

# They name and place a run, and say how often it reports: nothing that a result depends on.
_WITHOUT_MEANING = ("name", "runs_root", "tracking.")


class Sample(NamedTuple):
    """A metric at an optimizer step."""

    step: int
    value: float


class Best(NamedTuple):
    """The highest top-1 (percent) and the first step, and its epoch, that reached it."""

    top1: float
    step: int
    epoch: float | None


@dataclass(frozen=True)
class Run:
    """One run. ``settings`` are texts by dotted key; None is what it has not measured.

    top1 and top5 are percent, wall_s is seconds at work over all launches, without the time in
    queues between them; images_per_second is the median.
    """

    name: str
    settings: dict[str, str]
    status: Status
    ranks: int | None
    best: Best | None
    final_top1: float | None
    final_top5: float | None
    final_val_loss: float | None
    last_train_loss: float | None
    last_step: int | None
    images_per_second: float | None
    wall_s: float | None

    @property
    def has_metrics(self) -> bool:
        return self.last_step is not None


def load_run(path: Path) -> Run:
    """Read one run folder. Raises UserError where its config cannot be read."""
    folder = RunFolder(path)
    records = read_journal(folder.journal).records if folder.journal.is_file() else []
    lifecycle = Lifecycle()
    lifecycle.see(records)
    tags = _tags(records)
    samples = collect_samples(records)
    ranks = tags.get("world_size", "")
    return Run(
        name=path.absolute().name,
        settings=_settings(folder) | _code(tags),
        status=lifecycle.status,
        ranks=int(ranks) if ranks.isdigit() else None,
        best=best_top1(samples),
        final_top1=_last(samples, "val/top1"),
        final_top5=_last(samples, "val/top5"),
        final_val_loss=_last(samples, "val/loss"),
        last_train_loss=_last(samples, "train/loss"),
        last_step=max((series[-1].step for series in samples.values()), default=None),
        images_per_second=_median(samples.get("perf/img_per_s", [])),
        wall_s=wall_seconds(records),
    )


def load_runs(paths: Sequence[Path]) -> list[Run]:
    """Read run folders; where two have the same name, the path takes its place."""
    runs = [load_run(path) for path in paths]
    names = [run.name for run in runs]
    return [
        run if names.count(run.name) == 1 else Run(**{**vars(run), "name": str(path)})
        for run, path in zip(runs, paths, strict=True)
    ]


def differing_settings(runs: Sequence[Run]) -> dict[str, list[str]]:
    """``{dotted key: one text per run}`` for the settings that are not the same in all runs."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    rows = {key: [run.settings.get(key, ABSENT) for run in runs] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def collect_samples(records: Iterable[Record]) -> dict[str, list[Sample]]:
    """The samples of each metric, by step; the machine's load is left out."""
    samples: dict[str, list[Sample]] = {}
    for record in records:
        if record["kind"] == "metrics":
            for key, value in metric_values(record).items():
                samples.setdefault(key, []).append(Sample(int(record["step"]), value))
    return samples


def best_top1(samples: dict[str, list[Sample]]) -> Best | None:
    """The best evaluation; None without any that is a number."""
    found = [sample for sample in samples.get("val/top1", []) if not math.isnan(sample.value)]
    if not found:
        return None
    best = max(found, key=lambda sample: (sample.value, -sample.step))
    epochs = [s.value for s in samples.get("progress/epoch", []) if s.step <= best.step]
    return Best(best.value, best.step, epochs[-1] if epochs else None)


def wall_seconds(records: Sequence[Record]) -> float | None:
    """Seconds from each start to the last record before the next one, summed."""
    total_ms, began, last = 0, None, 0
    for record in records:
        if record["kind"] == "start":
            total_ms += 0 if began is None else last - began
            began = int(record["t_ms"])
        last = int(record["t_ms"])
    return None if began is None else (total_ms + last - began) / 1000


def _settings(folder: RunFolder) -> dict[str, str]:
    """The config as it was written, whatever the schema has become since."""
    problems: list[str] = []
    leaves = read_tree(folder.config, problems) if folder.config.is_file() else {}
    if problems:
        raise UserError("\n  ".join([f"{folder.config}:", *problems]))
    return {
        key: _text(leaf.value)
        for key, leaf in leaves.items()
        if not key.startswith(_WITHOUT_MEANING)
    }


def _text(value: Any) -> str:
    return show(tuple(value) if isinstance(value, list) else value)


def _code(tags: dict[str, str]) -> dict[str, str]:
    commit = tags.get("git_commit")
    if commit is None:
        return {}
    return {CODE: commit[:10] + (" + changes" if tags.get("git_dirty") == "true" else "")}


def _tags(records: Iterable[Record]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for record in records:
        if record["kind"] == "tags":
            tags |= record["tags"]
    return tags


def _last(samples: dict[str, list[Sample]], key: str) -> float | None:
    series = samples.get(key)
    return series[-1].value if series else None


def _median(series: Sequence[Sample]) -> float | None:
    values = [sample.value for sample in series if math.isfinite(sample.value)]
    return median(values) if values else None
