"""Pictures of a run's curves, made from its journal."""

import math
from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from pipeline.charts import Line, line_chart
from pipeline.tracking.upload.batch import Point


class _Picture(NamedTuple):
    file: str
    title: str
    y_label: str
    keys: tuple[str, ...]
    """Patterns; each line is a key that matches one of them."""


_PICTURES = (
    _Picture("curves/loss.svg", "loss", "loss", ("train/loss", "val/*loss")),
    _Picture("curves/accuracy.svg", "validation accuracy", "percent", ("val/*top1", "val/*top5")),
    _Picture("curves/learning_rate.svg", "learning rate", "learning rate", ("train/lr",)),
    _Picture("curves/throughput.svg", "throughput", "images per second", ("perf/img_per_s",)),
)


def pictures(points: Iterable[Point], run_name: str) -> dict[str, str]:
    """SVG texts by file name; a group of metrics that the run has no value of gets none."""
    curves: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for point in points:
        if not point.key.startswith("system/"):
            # The first write of a step counts, as in MLflow.
            curves[point.key].setdefault(point.step, point.value)
    made: dict[str, str] = {}
    for picture in _PICTURES:
        keys = [key for p in picture.keys for key in sorted(curves) if fnmatchcase(key, p)]
        lines = [line for key in keys for line in _line(key, curves[key])]
        if lines:
            title = f"{run_name}: {picture.title}"
            made[picture.file] = line_chart(lines, title, "optimizer step", picture.y_label)
    return made


def _line(key: str, curve: dict[int, float]) -> list[Line]:
    """None where no value is a number; ``line_chart`` leaves out the points that nobody sees."""
    steps = sorted(curve)
    values = [curve[step] for step in steps]
    return [Line(key, steps, values)] if any(map(math.isfinite, values)) else []
