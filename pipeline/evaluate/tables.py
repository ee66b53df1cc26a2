"""An evaluation as text: on the terminal, as JSON values, as CSV."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipeline.errors import UserError
from pipeline.evaluate.csv_text import classes_csv
from pipeline.evaluate.evaluation import Evaluation
from pipeline.evaluate.report import ClassScores, Confusion, worst_first
from pipeline.inference.trained import Trained
from pipeline.log import console
from pipeline.shards import ShardSplit

_SHOWN = 10


def write_csv(path: Path, rows: Sequence[ClassScores]) -> None:
    """All classes, one per line. Raises UserError where it cannot be written."""
    try:
        path.write_text(classes_csv(rows), newline="")
    except OSError as error:
        raise UserError(f"--csv {path}: {error.strerror}") from None


def as_json(trained: Trained, split: ShardSplit, evaluation: Evaluation) -> dict[str, Any]:
    """Everything, as JSON values; real is null where the images are not ImageNet's."""
    scores, real = evaluation.scores, evaluation.real
    progress = trained.progress
    return {
        "model": str(trained.weights),
        "step": None if progress is None else progress.step,
        "is_moving_average": trained.is_average,
        "data": str(split.root),
        "split": split.split,
        "dtype": trained.config.engine.dtype,
        "images": scores.images,
        # JSON has no NaN, the loss of a broken model.
        "loss": scores.loss if math.isfinite(scores.loss) else None,
        "top1": scores.top1,
        "top5": scores.top5,
        "real": None if real is None else asdict(real),
        "classes": [asdict(row) for row in evaluation.classes],
        "confusions": [asdict(pair) for pair in evaluation.confusions],
    }


def print_report(trained: Trained, split: ShardSplit, evaluation: Evaluation) -> None:
    """Scores, the worst classes and the most frequent confusions, on stdout."""
    out, scores, real = console(stderr=False), evaluation.scores, evaluation.real
    average = ", moving average of the weights" if trained.is_average else ""
    lines = [
        f"{trained.weights} in {trained.config.engine.dtype}{average}, on {split.split} of "
        f"{split.root}",
        f"  top-1   {scores.top1:.2f} % of {scores.images:,} images",
        f"  top-5   {scores.top5:.2f} %",
        f"  loss    {scores.loss:.4f}",
    ]
    if real is not None:
        lines.append(
            f"  ReaL    {real.top1:.2f} % top-1, {real.top5:.2f} % top-5 of {real.images:,} images"
        )
    out.print("\n".join(lines), markup=False)
    out.print(_class_table(worst_first(evaluation.classes)))
    if evaluation.confusions:
        out.print(_confusion_table(evaluation.confusions))


def _class_table(worst: Sequence[ClassScores]) -> Table:
    title = f"Classes, the worst {_SHOWN} of {len(worst)}" if len(worst) > _SHOWN else "Classes"
    table = _table(title, ("class", "most often taken for"))
    for name in ("images", "top-1 %", "top-5 %"):
        table.add_column(name, justify="right")
    for row in worst[:_SHOWN]:
        taken = "" if row.confused_with is None else f"{row.confused_with} ({row.confused_images})"
        table.add_row(
            escape(row.name), escape(taken), f"{row.images}", f"{row.top1:.2f}", f"{row.top5:.2f}"
        )
    return table


def _confusion_table(pairs: Sequence[Confusion]) -> Table:
    title = f"Confusions, the first {_SHOWN} of {len(pairs)}"
    table = _table(title if len(pairs) > _SHOWN else "Confusions", ("class", "taken for"))
    table.add_column("images", justify="right")
    for pair in pairs[:_SHOWN]:
        table.add_row(escape(pair.label), escape(pair.answer), f"{pair.images}")
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    return Table(*columns, title=title, title_justify="left", title_style="bold")
