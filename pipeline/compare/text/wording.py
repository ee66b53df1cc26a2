"""Numbers and facts of groups as short texts, the same in a terminal and in Markdown."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.compare.judging.caveats import progress_text, world_text
from pipeline.compare.judging.groups import Group, Spread
from pipeline.compare.judging.significance import BASELINE_WORDS, Difference, p_text
from pipeline.compare.run import Run
from pipeline.log import duration

ABSENT = "–"
NO_METRICS = "no metrics yet"
BETTER, WORSE = "▲", "▼"

_SEEDS_SHOWN = 5


def spread_text(found: Spread | None, form: str = "{:.2f}") -> str:
    """``98.12 ± 0.43``, or the value alone where n = 1."""
    if found is None:
        return ABSENT
    if found.std is None:
        return form.format(found.mean)
    return f"{form.format(found.mean)} ± {form.format(found.std)}"


def best_text(group: Group) -> str:
    """With the step that reached it, where it is one run's."""
    runs = [run for run in group.counted if run.best is not None]
    if len(runs) != 1 or runs[0].best is None:
        return spread_text(group.best_top1)
    return f"{runs[0].best.top1:.2f} at {where_text(runs[0])}"


def where_text(run: Run) -> str:
    """Where the best top-1 was reached: ``step 44 (epoch 2)``."""
    if run.best is None:
        return ABSENT
    epoch = "" if run.best.epoch is None else f" (epoch {round(run.best.epoch, 2):g})"
    return f"step {run.best.step}{epoch}"


def delta_text(found: Difference) -> str:
    """Points of top-1 against the baseline, marked as better or worse."""
    if found.words == BASELINE_WORDS:
        return BASELINE_WORDS
    if found.delta is None:
        return ABSENT
    shown = f"{found.delta:+.2f}"
    if float(shown) == 0:
        return "0.00"
    return f"{shown} {BETTER if found.delta > 0 else WORSE}"


def test_text(found: Difference) -> str:
    """What the test says, in few words; why there is none, where there is none."""
    if found.p_value is None or found.delta is None:
        return ABSENT if found.words == BASELINE_WORDS else found.words.partition(":")[0]
    if not found.is_significant:
        return f"{p_text(found.p_value)}: may be noise"
    return f"{p_text(found.p_value)}: {'better' if found.delta > 0 else 'worse'}"


def p_cell(found: Difference) -> str:
    """The bare p-value, for a column of them."""
    if found.p_value is None:
        return "" if found.words == BASELINE_WORDS else "no test"
    return p_text(found.p_value).removeprefix("p ").removeprefix("= ")


def interval_text(found: Difference) -> str:
    if found.low is None or found.high is None:
        return ABSENT
    return f"{found.low:+.2f} to {found.high:+.2f}"


def status_text(group: Group) -> str:
    """How its runs stand; of an unfinished one alone, how far it is."""
    if not any(run.has_metrics for run in group.runs):
        return NO_METRICS
    if len(group.runs) == 1:
        return run_status_text(group.runs[0])
    states = Counter(run.status for run in group.runs)
    return ", ".join(f"{count} {status}" for status, count in states.items())


def run_status_text(run: Run) -> str:
    """``FINISHED``, or ``KILLED, epoch 3 of 20``."""
    progress = "" if run.status == "FINISHED" else progress_text(run)
    return ", ".join(filter(None, [run.status, progress]))


def epochs_text(group: Group) -> str:
    """``20 of 20``."""
    return _each(progress_text(run).removeprefix("epoch ") for run in group.counted)


def steps_text(group: Group) -> str:
    return _each(None if run.last_step is None else str(run.last_step) for run in group.counted)


def ranks_text(group: Group) -> str:
    return _each(world_text(run) for run in group.counted)


def seeds_text(group: Group) -> str:
    """``n = 3 (42, 1, 2)``."""
    seeds = [run.seed or "unknown" for run in group.counted]
    if not seeds:
        return ABSENT
    shown = seeds if len(seeds) <= _SEEDS_SHOWN else [*seeds[: _SEEDS_SHOWN - 1], "…"]
    return f"n = {len(seeds)} ({', '.join(shown)})"


def count_text(found: Spread | None) -> str:
    """``1,437`` or ``384.3 M``."""
    if found is None:
        return ABSENT
    return f"{found.mean / 1e6:,.1f} M" if found.mean >= 1e6 else f"{found.mean:,.0f}"


def hours_text(found: Spread | None) -> str:
    """Hours to three digits: ``1,230``, ``12.3``, ``0.0123``."""
    if found is None:
        return ABSENT
    if not found.mean:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(found.mean))))
    return f"{found.mean:,.{digits}f}"


def wall_text(found: Spread | None) -> str:
    return ABSENT if found is None else duration(found.mean)


def cost_label(groups: Sequence[Group]) -> str:
    """A rank on a CPU counts as one GPU: where there is no GPU, it is not called one."""
    return "rank-hours" if all(g.settings.get("device") == "cpu" for g in groups) else "GPU-hours"


def best_label(groups: Sequence[Group]) -> str:
    """Which top-1 decides: that of the weights' average, where one is kept."""
    averaged = [g.final_ema_top1 is not None for g in groups if g.best_top1 is not None]
    if not any(averaged):
        return "best val/top1"
    return "best val/ema_top1" if all(averaged) else "best val/top1 or ema_top1"


def _each(texts: Iterable[str | None]) -> str:
    """Of runs that agree, once."""
    return ", ".join(dict.fromkeys(text for text in texts if text)) or ABSENT
