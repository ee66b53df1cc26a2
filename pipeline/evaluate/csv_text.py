"""Tables of an evaluation as CSV, with one header line. Pure."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields

from pipeline.evaluate.report import ClassScores, Confusion


def classes_csv(rows: Iterable[ClassScores]) -> str:
    """One line per class; what a class without images lacks is empty."""
    names = [field.name for field in fields(ClassScores)]
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def confusions_csv(pairs: Sequence[Confusion], most: int) -> str:
    """One line for each of the first ``most`` pairs."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("class", "taken for", "images"))
    writer.writerows((pair.label, pair.answer, pair.images) for pair in pairs[:most])
    return text.getvalue()
