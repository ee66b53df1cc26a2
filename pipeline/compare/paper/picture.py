"""A filled table as a picture: ours and the paper's as dots, a row each."""

from collections.abc import Sequence

from pipeline.charts.dot_chart import Dot, DotRow, dot_chart
from pipeline.compare.paper.table import FilledRow, PaperTable
from pipeline.compare.run import Run

_TO_BASELINE = "points of top-1 to the baseline (the scale is that of square roots)"
_TOP1 = "top-1 (%)"


def picture(table: PaperTable) -> str:
    """An ``<svg>``: differences to the baseline where the table has one, else top-1."""
    rows = table.rows[1:] if table.has_baseline else table.rows
    title = table.title.replace(":", ",", 1) if table.base is None else f"{table.title}, in small"
    return dot_chart(
        [_to_baseline(row) if table.has_baseline else _top1(row) for row in rows],
        ["ours", "paper"],
        title=title,
        subtitle=_subtitle(table),
        x_label=_TO_BASELINE if table.has_baseline else _TOP1,
        scale="root" if table.has_baseline else "linear",
    )


def _to_baseline(row: FilledRow) -> DotRow:
    ours = None
    if row.ours_to_baseline is not None:
        ours = Dot(row.ours_to_baseline, row.low, row.high)
    theirs = None if row.theirs_to_baseline is None else Dot(row.theirs_to_baseline)
    return DotRow(row.paper.name, (ours, theirs), _missing(row))


def _top1(row: FilledRow) -> DotRow:
    ours = None
    if row.ours is not None:
        mean, std, _ = row.ours
        low, high = (None, None) if std is None else (mean - std, mean + std)
        ours = Dot(mean, low, high, is_provisional=not row.is_complete)
    return DotRow(row.paper.name, (ours, Dot(row.paper.top1)), _missing(row))


def _missing(row: FilledRow) -> str:
    return "" if row.ours and row.is_complete else row.status


def _subtitle(table: PaperTable) -> str:
    """On what, how long and how often ours was trained; the paper's are ImageNet-1k."""
    counted = [run for row in table.rows for run in row.counted]
    if not counted:
        return "no runs yet"
    seeds = sorted({row.ours.n for row in table.rows if row.ours})
    config = next(row.paper.config for row in table.rows if row.counted)
    assert config is not None
    count = "–".join(str(n) for n in dict.fromkeys([*seeds[:1], *seeds[-1:]]))
    ours = f"{_data(counted)}, {config.train.epochs} epochs, n = {count or 0}"
    baseline = table.rows[0]
    if table.has_baseline and baseline.ours:
        ours += f", baseline {baseline.ours.mean:.1f} %"
    theirs = "paper: ImageNet-1k, 300 epochs"
    if table.has_baseline:
        theirs += f", baseline {baseline.paper.top1:.1f} %"
    return f"ours: {ours}; {theirs}"


def _data(runs: Sequence[Run]) -> str:
    """Names of the data sets that were trained on."""
    names: list[str] = []
    for run in runs:
        ending = f"-{run.settings.get('data.train_split', 'train')}"
        names += [name.removesuffix(ending) for name in run.digests if name.endswith(ending)]
    return ", ".join(dict.fromkeys(names)) or "unknown data"
