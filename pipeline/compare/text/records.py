"""The comparison for programs: CSV with a row per run, JSON with everything."""

import csv
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.judging.comparison import Comparison
from pipeline.compare.judging.groups import Group, Spread
from pipeline.compare.judging.significance import TEST, Difference
from pipeline.compare.results import RESULTS, plain
from pipeline.compare.run import Run
from pipeline.compare.text.alignment import align
from pipeline.compare.text.rows import CurveChoice
from pipeline.compare.text.verdict import verdict

_CURVE_BINS = 200


def csv_text(comparison: Comparison) -> str:
    """A header and a row per run: group, results, then all settings; unknown is empty."""
    tags = list(dict.fromkeys(key for run in comparison.runs for key in run.tags))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    identity = ["name", "group", "is_baseline", "experiment", "mlflow_run_id", "run_key"]
    keys = dict.fromkeys(key for run in comparison.runs for key in run.settings)
    settings = [key for key in keys if key not in identity]
    writer.writerow([*identity, *RESULTS, *settings, *(f"tag.{key}" for key in tags)])
    for index, group in enumerate(comparison.groups):
        for run in group.runs:
            row: list[Any] = [run.name, group.label, index == comparison.baseline]
            row += [run.experiment, run.mlflow_run_id, run.run_key]
            row += [value(run) for value in RESULTS.values()]
            row += [run.settings.get(key) for key in settings]
            row += [run.tags.get(key) for key in tags]
            writer.writerow(row)
    return text.getvalue()


def as_json(comparison: Comparison, choice: CurveChoice) -> dict[str, Any]:
    """Everything shown, as JSON values; NaN and infinity are texts, gaps of curves null."""
    groups = comparison.groups
    return {
        "runs": [_run_json(run) for run in comparison.runs],
        "groups": [
            _group_json(group, difference)
            for group, difference in zip(groups, comparison.differences(), strict=True)
        ],
        "baseline": groups[comparison.baseline].label,
        "test": TEST,
        "differing_settings": {
            key: dict(zip([group.label for group in groups], texts, strict=True))
            for key, texts in comparison.differing.items()
        },
        "curves": {metric: _curves_json(comparison, metric, choice) for metric in choice.metrics},
        "warnings": comparison.warnings,
        "verdict": verdict(comparison),
    }


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "folder": None if run.folder is None else str(run.folder),
        "experiment": run.experiment,
        "mlflow_run_id": run.mlflow_run_id,
        "run_key": run.run_key,
        "seed": run.seed,
        **{key: plain(value(run)) for key, value in RESULTS.items()},
        "worlds": list(run.worlds),
        "digests": run.digests,
        "settings": run.settings,
        "tags": run.tags,
    }


def _group_json(group: Group, difference: Difference) -> dict[str, Any]:
    spreads = {
        key: value._asdict() if isinstance(value, Spread) else value
        for key, value in vars(group).items()
        if value is None or isinstance(value, Spread)
    }
    return {
        "label": group.label,
        "runs": [run.name for run in group.runs],
        "counted": [run.name for run in group.counted],
        "n": len(group.counted),
        **spreads,
        "against_baseline": vars(difference),
    }


def _curves_json(comparison: Comparison, metric: str, choice: CurveChoice) -> dict[str, Any]:
    aligned = align(comparison.groups, metric, choice.axis, _CURVE_BINS)
    labels = [group.label for group in comparison.groups]
    return {
        "axis": choice.axis,
        "x": aligned.xs.tolist(),
        "groups": dict(zip(labels, map(_gaps, aligned.rows), strict=True)),
    }


def _gaps(row: NDArray[np.float64]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in row.tolist()]
