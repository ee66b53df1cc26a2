"""Filling a table: the runs of each row, what came of them, and what the reader must know."""

import difflib
import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.compare.judging.groups import Spread, one_per_seed, spread
from pipeline.compare.judging.significance import welch
from pipeline.compare.paper.matching import NEAR_SETTINGS, Departure, Trained, departures
from pipeline.compare.paper.notes import table_notes
from pipeline.compare.paper.rows import TABLES, WITHOUT_RUNS, PaperRow, Table
from pipeline.compare.paper.table import FilledRow, PaperTable
from pipeline.compare.run import Run
from pipeline.errors import UserError
from pipeline.paper import figures


def fill(table: str, runs: Sequence[Run], base: Path | None = None) -> PaperTable:
    """A table of the paper with the runs that were set to train what each of its rows says.

    base: a config that takes the place of what the rows' configs extend. Raises UserError for a
    name that is no table, a table that no run can fill, and a base that does not fit.
    """
    kind = _table(table)
    is_papers = base is None
    train_images = figures().train_images if is_papers else None
    trained = [Trained.of(run) for run in runs]
    rows = [
        _filled(row, _belonging(row, trained, train_images), is_papers)
        for row in _paper_rows(table, base)
    ]
    rows = _with_nearest(rows, trained, train_images)
    if kind.has_baseline:
        rows = [_against(row, rows[0]) for row in rows]
    return PaperTable(table, kind.title, rows, kind.has_baseline, base, table_notes(rows, base))


def _table(name: str) -> Table:
    if name in TABLES:
        return TABLES[name]
    there = f"there are {', '.join(TABLES)}"
    if name in WITHOUT_RUNS:
        raise UserError(f"--paper {name}: {WITHOUT_RUNS[name]}; {there}")
    near = difflib.get_close_matches(name, TABLES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"--paper {name}: no such table; {hint}{there}")


@functools.cache
def _paper_rows(table: str, base: Path | None) -> list[PaperRow]:
    """Reading and checking the configs takes half a second."""
    return TABLES[table].rows(figures(), base)


def _belonging(row: PaperRow, trained: Sequence[Trained], train_images: int | None) -> list[Run]:
    if row.config is None:
        return []
    return [one.run for one in trained if not departures(one, row.settings, train_images)]


def _filled(row: PaperRow, runs: Sequence[Run], is_papers: bool) -> FilledRow:
    """is_papers: what was trained is what the paper trained, so the scores compare."""
    complete = [run for run in runs if run.is_complete]
    counted = one_per_seed(complete or [run for run in runs if run.has_metrics])
    ours = spread([run.final_top1 for run in counted])
    return FilledRow(
        paper=row,
        runs=tuple(runs),
        counted=counted,
        is_complete=bool(complete),
        ours=ours,
        best=spread([None if run.best is None else run.best.top1 for run in counted]),
        difference=ours.mean - row.top1 if ours and complete and is_papers else None,
    )


def _with_nearest(
    rows: Sequence[FilledRow], trained: Sequence[Trained], train_images: int | None
) -> list[FilledRow]:
    """A run that belongs to no row is told at the row that it is nearest to, if that is empty."""
    belonging = {id(run) for row in rows for run in row.runs}
    nearest: dict[int, tuple[Run, list[Departure]]] = {}
    wanted = [(index, row.paper) for index, row in enumerate(rows) if row.paper.config]
    for one in trained:
        if id(one.run) in belonging:
            continue
        found = [(departures(one, row.settings, train_images), index) for index, row in wanted]
        if not found:
            break
        least, index = min(found, key=lambda pair: len(pair[0]))
        if len(least) > NEAR_SETTINGS or rows[index].runs:
            continue
        if index not in nearest or len(least) < len(nearest[index][1]):
            nearest[index] = (one.run, least)
    return [
        replace(row, nearest=_nearest_text(*nearest[index])) if index in nearest else row
        for index, row in enumerate(rows)
    ]


def _nearest_text(run: Run, differences: Sequence[Departure]) -> str:
    return f"nearest: {run.name} differs in {', '.join(map(str, differences))}"


def _against(row: FilledRow, baseline: FilledRow) -> FilledRow:
    """The row with its difference to the table's own baseline, ours and the paper's."""
    theirs = row.paper.top1 - baseline.paper.top1
    if not (row.ours and baseline.ours and row.is_complete and baseline.is_complete):
        return replace(row, theirs_to_baseline=theirs)
    ours = row.ours.mean - baseline.ours.mean
    if row is baseline:
        return replace(row, theirs_to_baseline=theirs, ours_to_baseline=ours)
    low, high = _interval(row, baseline)
    return replace(row, theirs_to_baseline=theirs, ours_to_baseline=ours, low=low, high=high)


def _interval(row: FilledRow, baseline: FilledRow) -> tuple[float | None, float | None]:
    """95 % interval of the difference; None without several seeds of both, and some spread."""
    values = [
        [run.final_top1 for run in one.counted if run.final_top1 is not None]
        for one in (row, baseline)
    ]
    if not all(_has_spread(one.ours) for one in (row, baseline)):
        return None, None
    _, low, high = welch(*values)
    return low, high


def _has_spread(found: Spread | None) -> bool:
    return found is not None and bool(found.std)
