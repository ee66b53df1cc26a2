"""A run's result for people: a table, the targets, and a row for the table of forecasts."""

from typing import Any

from tests.benchmarks.gpu.findings import Findings
from tests.benchmarks.record import today

NAME = "gpu-training"


def text(findings: Findings) -> str:
    """What the end of a run prints."""
    figures = findings.figures()
    lines = [f"{'':<38}{'img/s':>8}{'ms/step':>9}{'MFU':>7}{'MB/img':>8}{'kernels':>9}"]
    for part in ("ladder", "sizes", "batches", "decoded"):
        rows = figures[part]
        lines += [part, *map(_line, rows)] if rows else []
    lines.append("targets")
    for one in figures["targets"]:
        found = _number(one["measured"], 8, 2)
        at = f", batch {one['batch']}" if "batch" in one else ""
        lines.append(f"  {one['what']:<36}{found}  of {one['target']:g}: {one['verdict']}{at}")
    for name, why in figures["left_out"].items():
        lines.append(f"left out: {name} ({why})")
    lines += [f"failed: {name} ({why})" for name, why in figures["faults"].items()]
    for row in figures["ladder"]:
        if row["whose"] == "timm" and row.get("error") and row["name"] not in figures["left_out"]:
            lines.append(f"failed, and no fault of this project: {row['name']} ({row['error']})")
    row = forecast_row(findings)
    if row is not None:
        lines += ["for `speeds` in pipeline/plan/forecast.yaml:", row]
    return "\n".join(lines)


def forecast_row(findings: Findings) -> str | None:
    """The measured training as a line of the table of forecasts; None where none was measured.

    The one on decoded images where there is one, else on synthetic ones; of M48 on a GPU.
    """
    if findings.gpu is None or findings.scale.is_smoke:
        return None
    fed = findings.decoded.get("decoded")
    speeds = findings.speeds()
    ours = [name for name in speeds if findings.ladder[name].rung.whose == "ours"]
    speed = fed.images_per_second if fed else None
    if speed is None:
        speed = max((speeds[name] for name in ours), default=None)
    if speed is None:
        return None
    return (
        "  - {config: m48.yaml, img_size: 224, dtype: bf16, device: cuda, "
        f"hardware: {findings.gpu}, images_per_second: {round(speed, 1)}, date: {today()}, "
        f"source: tests/benchmarks/results/{NAME}.json}}"
    )


def _line(row: dict[str, Any]) -> str:
    name = f"  {row['name']}"
    if row["images_per_second"] is None:
        return f"{name:<38}{'-':>8}  {' '.join(str(row['error']).split())}"[:200]
    return (
        f"{name:<38}{row['images_per_second']['median']:>8.0f}"
        f"{_number(row['milliseconds_per_step'], 9, 1)}{_number(row.get('mfu'), 7, 3)}"
        f"{_number(row.get('megabytes_per_image'), 8, 1)}"
        f"{_number(row.get('kernels_over_step'), 9, 2)}"
    )


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"
