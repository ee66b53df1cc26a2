"""The curves of all runs, thinned so that the page stays small however many they are."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipeline.charts.thin import mean_line, thin
from pipeline.compare.page.coding import knots, pack_axis, pack_steps, pack_values
from pipeline.compare.run import AXES, Curve, Run

_BYTES_PER_VALUE = 6.0
"""Three or four of the value and up to one of the step, in base64."""
_MOST_VALUES, _FEWEST_VALUES = 4_500, 30
"""Of a curve: the first has more extremes than a wide screen has columns of pixels."""
_FIRST = ("val/top1", "train/loss", "val/loss", "val/ema_top1", "val/top5", "train/lr", "lr")
_PROGRESS = "progress/"


def metric_keys(runs: Iterable[Run]) -> list[str]:
    """All metrics but those that serve as axes; what decides comes first."""
    keys = {key for run in runs for key in run.curves if not key.startswith(_PROGRESS)}
    first = [key for key in _FIRST if key in keys]
    return first + sorted(keys.difference(first), key=lambda key: (key.startswith("perf/"), key))


def pack_curves(runs: Sequence[Run], most_bytes: int) -> dict[str, Any]:
    """``{metrics, steps, runs}`` for the page's script, in about ``most_bytes``.

    A run is ``{last, axes, curves}``; a curve is ``[metric, steps, values]``, and of one that is
    thinned ``[..., steps of its means, means]``. Steps are places in ``steps``.
    """
    metrics = metric_keys(runs)
    packer = _Packer(metrics)
    axes = [_pack_axes(run) for run in runs]
    lengths = [len(run.curves[key]) for run in runs for key in metrics if key in run.curves]
    left = most_bytes - len(json.dumps(axes))
    share = fair_share(lengths, max(0, int(left / _BYTES_PER_VALUE)))
    most = min(_MOST_VALUES, max(_FEWEST_VALUES, share))
    packed = [
        {"last": run.last_step or 0, "axes": found, "curves": packer.run(run, most)}
        for run, found in zip(runs, axes, strict=True)
    ]
    return {"metrics": metrics, "steps": packer.steps, "runs": packed}


def fair_share(lengths: Sequence[int], total: int) -> int:
    """The most values that each may have, so that all have at most ``total``.

    What short ones leave over is for the long ones.
    """
    left, ascending = total, sorted(lengths)
    for place, length in enumerate(ascending):
        share = left // (len(ascending) - place)
        if length > share:
            return share
        left -= length
    return max(lengths, default=0)


class _Packer:
    """Packs curves; steps that several have are kept once."""

    def __init__(self, metrics: Sequence[str]):
        self._metrics = metrics
        self._places: dict[bytes, int] = {}
        self.steps: list[list[Any]] = []

    def run(self, run: Run, most: int) -> list[list[Any]]:
        return [
            [number, *self._curve(run.curves[key], most)]
            for number, key in enumerate(self._metrics)
            if key in run.curves and len(run.curves[key])
        ]

    def _curve(self, curve: Curve, most: int) -> list[Any]:
        if len(curve) <= most:
            return self._line(curve, 4)
        # A third are means: the middle of two extremes is not the mean of what lies between.
        kept = thin(curve.values, 2 * most // 3)
        xs, ys = mean_line(curve.steps.astype(np.float64), curve.values, most // 3)
        means = Curve(np.rint(xs).astype(np.int64), ys)
        return [*self._line(Curve(curve.steps[kept], curve.values[kept]), 3), *self._line(means, 3)]

    def _line(self, curve: Curve, width: int) -> list[Any]:
        key = curve.steps.tobytes()
        if key not in self._places:
            self._places[key] = len(self.steps)
            self.steps.append(pack_steps(curve.steps))
        return [self._places[key], pack_values(curve.values, width)]


def _pack_axes(run: Run) -> dict[str, list[float] | None]:
    steps = knots(run.last_step or 0)
    return {axis: pack_axis(steps, run.x_of(axis, steps)) for axis in AXES if axis != "step"}
