"""How many source files may be left out before that is an error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.wording import named, plural
from pipeline.errors import DataError, UserError
from pipeline.shards import Quarantined

_DEFAULT_FRACTION = 0.001


@dataclass(frozen=True)
class MaxBad:
    """``--max-bad``: a number of files, or a fraction of a split's files."""

    text: str
    count: int | None = None
    fraction: float | None = None

    def files(self, total: int) -> int:
        """The budget of a split of ``total`` files."""
        if self.count is not None:
            return self.count
        if self.fraction is not None:
            return math.floor(self.fraction * total)
        return max(1, math.floor(_DEFAULT_FRACTION * total))


DEFAULT_MAX_BAD = MaxBad("the larger of 1 file and 0.1%")


def parse_max_bad(text: str) -> MaxBad:
    """``5`` (files), ``0.5%`` or ``0.005`` (of the split's files). Raises UserError."""
    wrong = UserError(
        f"--max-bad {text!r} is neither a count nor a fraction; use for instance 5, 0.5% or 0.005"
    )
    if text.isascii() and text.isdigit():
        return MaxBad(text, count=int(text))
    try:
        fraction = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise wrong from None
    if not 0 <= fraction <= 1:
        raise wrong
    return MaxBad(text, fraction=fraction)


def keep_within(budget: MaxBad, split: str, quarantine: Sequence[Quarantined], total: int) -> None:
    """Raises DataError listing the first names where more files are bad than the budget has."""
    allowed = budget.files(total)
    if len(quarantine) <= allowed:
        return
    examples = named((f"{bad.name} ({bad.reason})" for bad in quarantine), shown=5)
    raise DataError(
        f"{split}: {plural(len(quarantine), 'bad file')} of {total:,}, --max-bad {budget.text} "
        f"allows {allowed}: {examples}; accept them with --max-bad {len(quarantine)}, which keeps "
        "the shards already written, or repair or remove them and delete OUT first"
    )
