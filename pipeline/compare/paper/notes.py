"""What a reader of a filled table must know: one line each."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline.compare.paper.matching import manner
from pipeline.compare.paper.table import FilledRow
from pipeline.compare.run import Run

_DIGEST_LENGTH = 10
_NAMES_SHOWN = 3


def table_notes(rows: Sequence[FilledRow], base: Path | None) -> list[str]:
    """The notes of a table, what concerns all rows first."""
    return [
        *_general(rows, base),
        *_manner(rows),
        *_differing(rows, "data", _data_text),
        *_differing(rows, "code", lambda run: run.code),
        *_of_rows(rows),
    ]


def _general(rows: Sequence[FilledRow], base: Path | None) -> Iterator[str]:
    filled = [row for row in rows if row.ours]
    if any(row.theirs_to_baseline is not None for row in rows):
        yield "Δ is the difference to the table's own baseline, the first row, in points"
    if base is not None:
        yield (
            f"each row is built on {base}: its top-1 is not to be held against the paper's, only "
            "its difference to the baseline, and that with care"
        )
    if not filled:
        return
    yield (
        "ours is top-1 after the last epoch: the best of all epochs is picked on the validation "
        "images, which flatters it; the paper does not say which one it prints"
    )
    cooldowns = {row.paper.config.optim.cooldown_epochs for row in filled if row.paper.config}
    if cooldowns == {10}:
        yield "epochs: the paper's 300 (or more), and 10 at the lowest rate as in its code"
    if all(row.ours.n == 1 for row in filled if row.ours):
        yield "n = 1 everywhere: a small difference may be noise, and the paper gives no spread"
    if any(not row.is_complete for row in filled):
        yield "so far: not all epochs are done, so no difference is given"


def _manner(rows: Sequence[FilledRow]) -> Iterator[str]:
    """What was computed in another manner than the rows' configs say."""
    filled = [row for row in rows if row.counted and row.paper.config]
    told: dict[str, list[str]] = {}
    for row in filled:
        for text in dict.fromkeys(_manner_texts(row)):
            told.setdefault(text, []).append(row.paper.name)
    for text, names in told.items():
        yield f"{text}: {_some(names, len(filled))}"


def _manner_texts(row: FilledRow) -> Iterator[str]:
    assert row.paper.config is not None
    for run in row.counted:
        for key, (ours, theirs) in manner(run, row.paper.config).items():
            # Beside another order of the samples, the window says nothing more.
            if key != "data.window_shards" or run.settings.get("data.order") == "windowed":
                yield f"{key} is {ours}, not {theirs}"


def _differing(
    rows: Sequence[FilledRow], what: str, text_of: Callable[[Run], str | None]
) -> Iterator[str]:
    filled = [row for row in rows if row.counted]
    told: dict[str, list[str]] = {}
    for row in filled:
        for text in dict.fromkeys(text_of(run) or "unknown" for run in row.counted):
            told.setdefault(text, []).append(row.paper.name)
    if len(told) == 1 and "unknown" not in told:
        yield f"{what}: {next(iter(told))}"
    elif len(told) > 1:
        listed = "; ".join(f"{text} in {_some(names, len(filled))}" for text, names in told.items())
        yield f"the {what} differs: {listed}"


def _data_text(run: Run) -> str | None:
    read = sorted(run.digests.items())
    return ", ".join(f"{name} {digest[:_DIGEST_LENGTH]}" for name, digest in read) or None


def _of_rows(rows: Sequence[FilledRow]) -> Iterator[str]:
    for row in rows:
        told = [] if row.paper.note is None else [row.paper.note]
        if row.nearest is not None:
            told.append(f"no run; {row.nearest}")
        rest = [run for run in row.runs if run not in row.counted]
        if row.counted and rest:
            names = [run.name for run in rest]
            told.append(f"not counted, unfinished or a copy of a seed: {_some(names)}")
        if told:
            yield f"{row.paper.name}: {'; '.join(told)}"


def _some(names: Sequence[str], of: int | None = None) -> str:
    if of is not None and len(names) == of:
        return "all filled rows" if of > 1 else names[0]
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
