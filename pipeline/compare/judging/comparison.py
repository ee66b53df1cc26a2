"""Groups of runs side by side: what differs, which is the baseline, and what to mind."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.compare.judging.caveats import caveats
from pipeline.compare.judging.groups import Group, group_runs
from pipeline.compare.judging.significance import Difference, differences
from pipeline.compare.run import Run
from pipeline.errors import UserError

ABSENT = "–"
CODE = "(code)"
DATA = "(data)"
"""Rows among the settings where groups differ in nothing else."""

_DIGEST_LENGTH = 10


@dataclass(frozen=True, eq=False)
class Comparison:
    """``baseline`` is an index into ``groups``.

    ``differing`` has a text per group for each setting that is not the same in all of them, by
    dotted key, in the config's order.
    """

    runs: list[Run]
    groups: list[Group]
    baseline: int
    differing: dict[str, list[str]]
    warnings: list[str]

    def differences(self) -> list[Difference]:
        """Each group against the baseline."""
        return differences(self.groups, self.baseline)

    def ranked(self) -> list[int]:
        """The groups' indices, the highest best top-1 first, those without one last."""

        def key(index: int) -> tuple[bool, float]:
            best = self.groups[index].best_top1
            return best is None, 0.0 if best is None else -best.mean

        return sorted(range(len(self.groups)), key=key)


def compare_runs(runs: Sequence[Run], baseline: str | None = None) -> Comparison:
    """Group the runs and see what differs. ``baseline`` is a run's or group's name, or the first.

    Raises UserError for an unknown baseline, and where the runs have no metric in common.
    """
    check_common_metric(runs)
    groups = group_runs(runs)
    return Comparison(
        runs=list(runs),
        groups=groups,
        baseline=0 if baseline is None else find_group(groups, baseline),
        differing=differing_settings(groups),
        warnings=caveats(groups),
    )


def find_group(groups: Sequence[Group], name: str) -> int:
    """The group of this label or with this run. Raises UserError that lists near names."""
    for index, group in enumerate(groups):
        if group.label == name:
            return index
    for index, group in enumerate(groups):
        if any(name in (run.name, run.mlflow_run_id, run.run_key) for run in group.runs):
            return index
    known = [group.label for group in groups] + [r.name for group in groups for r in group.runs]
    near = difflib.get_close_matches(name, dict.fromkeys(known), n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known[:10])}"
    raise UserError(f"--baseline {name!r}: none of the runs that are compared; {hint}")


def differing_settings(groups: Sequence[Group]) -> dict[str, list[str]]:
    """``{dotted key: one text per group}`` for the settings that are not the same in all."""
    keys = dict.fromkeys(key for group in groups for key in group.settings)
    rows = {key: [group.settings.get(key, ABSENT) for group in groups] for key in keys}
    configs = [tuple(sorted(group.settings.items())) for group in groups]
    if len(set(configs)) < len(configs):
        rows[CODE] = [group.code for group in groups]
        rows[DATA] = [_data_text(group) for group in groups]
    return {key: texts for key, texts in rows.items() if len(set(texts)) > 1}


def check_common_metric(runs: Sequence[Run]) -> None:
    """Raises UserError that says which run has which, where no metric is in all of them."""
    has = {run.name: _results(run) for run in runs if run.has_metrics}
    if not has or set.intersection(*has.values()):
        return
    same: dict[tuple[str, ...], list[str]] = {}
    for name, keys in has.items():
        same.setdefault(tuple(sorted(keys)), []).append(name)
    listed = "".join(
        f"\n  {', '.join(names)}: {', '.join(keys) or 'neither train/ nor val/ metrics'}"
        for keys, names in same.items()
    )
    raise UserError(f"these runs have no metric in common; leave some of them out:{listed}")


def _results(run: Run) -> set[str]:
    return {key for key in run.curves if key.startswith(("train/", "val/"))}


def _data_text(group: Group) -> str:
    return ", ".join(f"{name} {digest[:_DIGEST_LENGTH]}" for name, digest in group.data) or ABSENT
