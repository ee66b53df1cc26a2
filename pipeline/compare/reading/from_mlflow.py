"""Runs out of an MLflow store, for whom the folders lie elsewhere."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.reading.load import assemble_run, last_of, latest_settings
from pipeline.compare.run import GPU_HOURS, Curve, Run
from pipeline.tracking.journal import read_journal
from pipeline.tracking.lifecycle import Status
from pipeline.tracking.run_folder import RunFolder

if TYPE_CHECKING:
    from pipeline.tracking.upload.mlflow_store.reading import MetricHistory, StoredRun

_WORLD_FROM_STEP = re.compile(r"(\d+) from step (\d+)")
_SECONDS_PER_HOUR = 3600.0
_TAIL_BYTES = 1 << 16
_ID_SHOWN = 6
# Tags that the store keeps for itself.
_INTERNAL = ("mlflow.", "pipeline.")


def stored_run(
    stored: "StoredRun", histories: "Mapping[str, MetricHistory]", folder: Path | None
) -> Run:
    """A Run from what a store has of it; ``folder`` is its own, where it lies here as well."""
    curves = {key: Curve(h.steps, h.values) for key, h in histories.items() if len(h.steps)}
    worlds = _worlds(stored.tags)
    seconds = _seconds_at_work(stored, curves, histories, worlds)
    notes = () if folder is None else tuple(_newer_journal(stored, curves, folder))
    tags = {key: text for key, text in stored.tags.items() if not key.startswith(_INTERNAL)}
    return assemble_run(
        name=stored.name,
        settings=latest_settings(stored.params, stored.tags),
        tags=tags,
        curves=curves,
        seconds=seconds,
        status=_status(stored),
        folder=folder,
        mlflow_run_id=stored.run_id,
        run_key=stored.run_key,
        experiment=stored.experiment,
        digests=stored.digests,
        worlds=tuple(world for world, _ in worlds),
        gpu_hours=last_of(curves, GPU_HOURS),
        wall_s=seconds.last if len(seconds) else None,
        notes=notes,
    )


def read_stored(
    stored: "Sequence[StoredRun]",
    histories: "Callable[[StoredRun], Mapping[str, MetricHistory]]",
    folders: Mapping[str, Path],
) -> list[Run]:
    """All of them; ``folders`` are those that lie here, by run_key.

    Where two have the same name, the start of MLflow's id is added to it.
    """
    names = Counter(one.name for one in stored)
    runs = [stored_run(one, histories(one), folders.get(one.run_key)) for one in stored]
    return [
        run if names[run.name] == 1 else replace(run, name=f"{run.name} {one.run_id[:_ID_SHOWN]}")
        for run, one in zip(runs, stored, strict=True)
    ]


def last_journaled_step(journal: Path) -> int:
    """The step of the last metrics; 0 where there are none."""
    if not journal.is_file():
        return 0
    # The end is enough as a rule; the half line that it begins with is skipped.
    for start in (max(0, journal.stat().st_size - _TAIL_BYTES), 0):
        records = read_journal(journal, start).records
        steps = [int(record["step"]) for record in records if record["kind"] == "metrics"]
        if steps:
            return max(steps)
    return 0


def _status(stored: "StoredRun") -> Status:
    """The tag says more than MLflow's own status: requeued, lost."""
    for text in (stored.tags.get("state", "").upper(), stored.status):
        for status in get_args(Status):
            if text == status:
                return status
    return "NEW"


def _worlds(tags: Mapping[str, str]) -> list[tuple[int, int]]:
    """``(ranks, from step)``."""
    told = _WORLD_FROM_STEP.findall(tags.get("world_sizes", ""))
    if told:
        return [(int(ranks), int(step)) for ranks, step in told]
    size = tags.get("world_size", "")
    return [(int(size), 0)] if size.isdigit() and tags.get("launches", "1") == "1" else []


def _seconds_at_work(
    stored: "StoredRun",
    curves: Mapping[str, Curve],
    histories: "Mapping[str, MetricHistory]",
    worlds: Sequence[tuple[int, int]],
) -> Curve:
    """From the GPU-hours and the ranks; of a single launch, by the clock; else unknown."""
    cost = curves.get(GPU_HOURS)
    if cost is not None and worlds:
        ranks = np.array([world for world, _ in worlds], dtype=np.float64)
        starts = np.array([step for _, step in worlds], dtype=np.int64)
        # The points after a start's step are of its launch.
        at = np.clip(np.searchsorted(starts, cost.steps, side="left") - 1, 0, None)
        hours = np.cumsum(np.diff(cost.values, prepend=0.0) / ranks[at])
        return Curve(cost.steps, hours * _SECONDS_PER_HOUR)
    steps: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    if stored.tags.get("launches") != "1" or not histories:
        return Curve(steps, np.empty(0))
    steps = np.concatenate([history.steps for history in histories.values()])
    t_ms = np.concatenate([history.t_ms for history in histories.values()])
    steps, first = np.unique(steps, return_index=True)
    return Curve(steps, (t_ms[first] - stored.started_ms) / 1000)


def _newer_journal(stored: "StoredRun", curves: Mapping[str, Curve], folder: Path) -> list[str]:
    there = max((int(curve.steps[-1]) for curve in curves.values()), default=0)
    here = last_journaled_step(RunFolder(folder).journal)
    if here <= there:
        return []
    return [
        f"{stored.name}: its journal is newer than what MLflow has of it (step {here} here, step "
        f"{there} there); `python -m pipeline.tracking sync {folder}` uploads the rest"
    ]
