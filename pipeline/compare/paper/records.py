"""A filled table for programs: as JSON values and as CSV."""

import csv
import io
from typing import Any

from pipeline.compare.judging.groups import Spread
from pipeline.compare.paper.table import FilledRow, PaperTable


def as_json(table: PaperTable) -> dict[str, Any]:
    """Rows with figures as numbers; null is what is not known."""
    return {
        "table": table.name,
        "title": table.title,
        "base": None if table.base is None else str(table.base),
        "rows": [_row(row) for row in table.rows],
        "notes": table.notes,
    }


def csv_text(table: PaperTable) -> str:
    """The same flat: ``ours`` becomes ours_top1, ours_std and seeds; runs are joined by spaces."""
    records = [_flat(_row(row)) for row in table.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _row(row: FilledRow) -> dict[str, Any]:
    done = row.epochs_done
    return {
        "row": row.paper.name,
        "parameters_m": row.paper.parameters_m,
        "frozen_m": row.paper.frozen_m,
        "macs_g": row.paper.macs_g,
        "paper_top1": row.paper.top1,
        "ours": _spread(row.ours),
        "best": _spread(row.best),
        "is_complete": row.is_complete,
        "difference": _rounded(row.difference),
        "ours_to_baseline": _rounded(row.ours_to_baseline),
        "ours_to_baseline_low": _rounded(row.low),
        "ours_to_baseline_high": _rounded(row.high),
        "paper_to_baseline": _rounded(row.theirs_to_baseline),
        "epochs_done": done[0] if done else None,
        "planned_epochs": row.planned_epochs,
        "status": row.status,
        "runs": [run.name for run in row.runs],
        "counted_runs": [run.name for run in row.counted],
        "nearest": row.nearest,
        "note": row.paper.note,
    }


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if key in ("ours", "best"):
            found = value or {}
            flat |= {f"{key}_top1": found.get("top1"), f"{key}_std": found.get("std")}
            if key == "ours":
                flat["seeds"] = found.get("seeds", 0)
        else:
            flat[key] = " ".join(value) if isinstance(value, list) else value
    return flat


def _spread(found: Spread | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"top1": _rounded(found.mean), "std": _rounded(found.std), "seeds": found.n}


def _rounded(value: float | None) -> float | None:
    """Without the dust of binary fractions."""
    return None if value is None else round(value, 4)
