"""Who leads, by how much, at what cost, and what that is worth, in one sentence."""

from collections.abc import Sequence

from pipeline.compare.judging.comparison import Comparison
from pipeline.compare.judging.groups import Group, Spread
from pipeline.compare.judging.significance import differences
from pipeline.compare.text.wording import cost_label, hours_text, spread_text, where_text

_RUNS_NAMED = 3
_EQUAL_COST = 0.05


def verdict(comparison: Comparison) -> str:
    """One plain sentence."""
    groups = comparison.groups
    ranked = [groups[index] for index in comparison.ranked() if groups[index].best_top1]
    without = [group.label for group in groups if group.best_top1 is None]
    missing = f"no val/top1 yet: {_listed(without)}" if without else ""
    if not ranked:
        return f"{missing[0].upper()}{missing[1:]}."
    if len(ranked) == 1:
        parts = [f"{ranked[0].label}: best top-1 {_alone(ranked[0])}", _unfinished(ranked), missing]
    else:
        leader, second = ranked[:2]
        parts = [
            _lead(leader, second, is_of_many=len(groups) > 2),
            _worth(ranked, leader, second),
            _cost(leader, second),
            _unfinished([leader, second]),
            missing,
        ]
    return "; ".join(filter(None, parts)) + "."


def _alone(group: Group) -> str:
    found = group.best_top1
    assert found is not None
    if found.n > 1:
        return f"{spread_text(found)} over {found.n} seeds"
    run = next(run for run in group.counted if run.best is not None)
    return f"{found.mean:.2f} at {where_text(run)}, n = 1"


def _lead(leader: Group, second: Group, is_of_many: bool) -> str:
    ours, theirs = leader.best_top1, second.best_top1
    assert ours is not None and theirs is not None
    gap = ours.mean - theirs.mean
    pair = f"({_with_n(ours)} vs {_with_n(theirs)})"
    if not round(gap, 2):
        return f"{leader.label} and {second.label} are level in top-1 {pair}"
    over = f" over {second.label}" if is_of_many else ""
    return f"{leader.label} leads by {gap:+.2f} points of top-1{over} {pair}"


def _with_n(found: Spread) -> str:
    return f"{spread_text(found)}, n = {found.n}" if found.n > 1 else spread_text(found)


def _worth(ranked: Sequence[Group], leader: Group, second: Group) -> str:
    """The leader was found by looking, so all of its leads are tested together."""
    found = differences(ranked, ranked.index(leader))[ranked.index(second)]
    if found.p_value is None:
        return found.words
    return found.words.replace("significantly worse", "more than noise")


def _cost(leader: Group, second: Group) -> str:
    ours, theirs = leader.gpu_hours, second.gpu_hours
    if ours is None or theirs is None or not theirs.mean:
        return ""
    label = cost_label([leader, second])
    ratio = ours.mean / theirs.mean
    if abs(ratio - 1) < _EQUAL_COST:
        return f"at the same cost ({hours_text(ours)} {label})"
    times = f"{ratio:.2g}" if ratio < 10 else f"{ratio:,.0f}"
    return f"at {times} times the cost ({hours_text(ours)} vs {hours_text(theirs)} {label})"


def _unfinished(groups: Sequence[Group]) -> str:
    """A lead over a run that goes on is none yet."""
    rest = [run for group in groups for run in group.counted if run.status != "FINISHED"]
    told = [f"{run.name} is {run.status}" for run in rest[:_RUNS_NAMED]]
    if len(rest) > _RUNS_NAMED:
        told.append(f"{len(rest) - _RUNS_NAMED} more are unfinished")
    return " and ".join(told)


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _RUNS_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_RUNS_NAMED])} and {len(names) - _RUNS_NAMED} more"
