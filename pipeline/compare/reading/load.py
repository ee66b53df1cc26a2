"""Run folders to Runs."""

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.compare.reading.journal_history import History, no_history, read_history
from pipeline.compare.run import Best, Curve, Run
from pipeline.config import Config, dotted
from pipeline.config.load import show
from pipeline.config.yaml_tree import read_tree
from pipeline.errors import DataError, UserError
from pipeline.tracking.lifecycle import Status
from pipeline.tracking.run_folder import RunFolder, read_run_info

# Below, the start of the processes (half a second) costs more than it saves.
_BYTES_FOR_PROCESSES = 1 << 25


def load_runs(paths: Sequence[Path], workers: int = 1) -> list[Run]:
    """Read run folders; where two have the same name, the path takes its place.

    workers: processes for many long journals; a script that asks for more than one needs the
    guard ``if __name__ == "__main__"``. Raises UserError where a config or a journal cannot be
    read.
    """
    workers = min(len(paths), workers)
    if workers > 1 and sum(map(_journal_bytes, paths)) >= _BYTES_FOR_PROCESSES:
        # Not forked: BLAS has threads here.
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            runs = list(pool.map(load_run, paths))
    else:
        runs = [load_run(path) for path in paths]
    names = [run.name for run in runs]
    return [
        run if names.count(run.name) == 1 else replace(run, name=str(path))
        for run, path in zip(runs, paths, strict=True)
    ]


def load_run(path: Path) -> Run:
    """Read one run folder. Raises UserError where its config or journal cannot be read."""
    folder = RunFolder(path)
    name = path.absolute().name
    try:
        history = read_history(folder.journal)
    except FileNotFoundError:
        history = no_history()
    except OSError as error:
        raise UserError(
            f"run {name}: {folder.journal}: {error.strerror}; make it readable, or leave it out"
        ) from None
    status = history.lifecycle.status
    notes = _journal_notes(name, history, status)
    try:
        info = read_run_info(path)
    except DataError as error:
        info = {}
        notes.append(f"{name}: its ids are unknown: {error}")
    params = history.params or _config(folder)
    return assemble_run(
        name=name,
        settings=latest_settings(params, history.tags),
        tags=history.tags,
        curves=history.curves,
        seconds=history.seconds,
        status=status,
        folder=path,
        mlflow_run_id=info.get("mlflow_run_id"),
        run_key=info.get("run_key"),
        experiment=info.get("experiment") or params.get("tracking.experiment"),
        digests=history.digests,
        worlds=history.worlds,
        gpu_hours=history.gpu_hours,
        wall_s=history.wall_s,
        notes=tuple(notes),
    )


def assemble_run(
    *,
    settings: dict[str, str],
    tags: dict[str, str],
    curves: dict[str, Curve],
    **facts: Any,
) -> Run:
    """A Run with what follows from its settings, tags and curves; ``facts``: the other fields."""
    batch = settings.get("train.global_batch", "")
    last_step = max((int(curve.steps[-1]) for curve in curves.values()), default=None)
    images = last_of(curves, "progress/images")
    if images is None and last_step is not None and batch.isdigit():
        images = float(last_step * int(batch))
    return Run(
        settings=settings,
        tags=tags,
        curves=curves,
        code=_code(tags),
        best=_best(curves),
        final_top1=last_of(curves, "val/top1"),
        final_top5=last_of(curves, "val/top5"),
        final_val_loss=last_of(curves, "val/loss"),
        last_train_loss=last_of(curves, "train/loss"),
        last_step=last_step,
        epochs=last_of(curves, "progress/epoch"),
        images=images,
        images_per_second=_median(curves.get("perf/img_per_s")),
        mfu=_median(curves.get("perf/mfu")),
        **facts,
    )


def latest_settings(params: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """The settings of the last launch: those that changed since the first stand in the tags.

    Those that are younger than the run have their defaults; of a run that says none, none is known.
    """
    if not params:
        return {}
    latest = {key: tags[f"latest.{key}"] for key in params if f"latest.{key}" in tags}
    return {**default_settings(), **params, **latest}


@functools.cache
def default_settings() -> Mapping[str, str]:
    """The schema's defaults, as texts by dotted key, in its order."""
    return {key: show(value) for key, value in dotted(Config()).items()}


def last_of(curves: Mapping[str, Curve], key: str) -> float | None:
    curve = curves.get(key)
    return None if curve is None else curve.last


def _best(curves: Mapping[str, Curve]) -> Best | None:
    """The best evaluation; None without any that is a number."""
    # The weights' average decides where there is one, as for the best checkpoint.
    curve = curves.get("val/ema_top1", curves.get("val/top1"))
    if curve is None or not np.isfinite(curve.values).any():
        return None
    index = int(np.argmax(np.where(np.isfinite(curve.values), curve.values, -np.inf)))
    step = int(curve.steps[index])
    epochs = curves.get("progress/epoch")
    at = 0 if epochs is None else int(np.searchsorted(epochs.steps, step, side="right"))
    epoch = None if epochs is None or not at else float(epochs.values[at - 1])
    return Best(float(curve.values[index]), step, epoch)


def _median(curve: Curve | None) -> float | None:
    known = np.empty(0) if curve is None else curve.values[np.isfinite(curve.values)]
    return float(np.median(known)) if len(known) else None


def _config(folder: RunFolder) -> dict[str, str]:
    """The config as it was written, whatever the schema has become since."""
    problems: list[str] = []
    leaves = read_tree(folder.config, problems) if folder.config.is_file() else {}
    if problems:
        raise UserError("\n  ".join([f"{folder.config}:", *problems]))
    return {key: _text(leaf.value) for key, leaf in leaves.items()}


def _text(value: Any) -> str:
    return show(tuple(value) if isinstance(value, list) else value)


def _code(tags: Mapping[str, str]) -> str | None:
    commit = tags.get("git_commit")
    if commit is None:
        return None
    return commit[:10] + (" + changes" if tags.get("git_dirty") == "true" else "")


def _journal_notes(name: str, history: History, status: Status) -> list[str]:
    notes: list[str] = []
    if history.damaged_lines:
        lines = "line" if history.damaged_lines == 1 else "lines"
        notes.append(f"{name}: skipped {history.damaged_lines} damaged {lines} of its journal")
    if history.is_torn and status != "RUNNING":
        notes.append(f"{name}: the last line of its journal is torn and was left out")
    return notes


def _journal_bytes(path: Path) -> int:
    journal = RunFolder(path).journal
    return journal.stat().st_size if journal.is_file() else 0
