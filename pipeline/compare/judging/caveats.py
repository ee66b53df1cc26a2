"""What makes a comparison less fair than it looks: one line each, for all outputs."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from pipeline.compare.judging.groups import Group, repeats_of
from pipeline.compare.run import Run
from pipeline.config.flatten import free_settings

_VERSIONS = ("torch", "deepspeed", "timm")
_EVALUATION = ("evaluate.crop_pct", "evaluate.interpolation", "augment.img_size")
# What names a run, or says where it lies and how often it reports, costs no speed.
_WITHOUT_MEANING = ("name", "runs_root", "data.root", "tracking.", "checkpoint.", "elastic.")
_DIGEST_LENGTH = 10
_NAMES_SHOWN = 3
_VALUES_SHOWN = 4


def caveats(groups: Sequence[Group]) -> list[str]:
    """The warnings of a comparison, the gravest first."""
    runs = [run for group in groups for run in group.runs]
    found: list[str] = []
    found += _data(runs)
    found += _evaluation(runs)
    found += _epochs(groups)
    found += _code(runs)
    found += _versions(runs)
    found += _worlds(runs)
    found += _free(runs)
    found += _copies(groups)
    found += _left_out(groups)
    found += [note for run in runs for note in run.notes]
    return found


def progress_text(run: Run) -> str:
    """``epoch 3 of 20``; empty where the run says nothing of it."""
    if run.epochs is None:
        return ""
    planned = "" if run.planned_epochs is None else f" of {run.planned_epochs}"
    return f"epoch {run.epochs:.4g}{planned}"


def world_text(run: Run) -> str | None:
    """Ranks over time: ``8``, or ``8, then 4``; None where it is unknown."""
    changes = [str(world) for world, _ in itertools.groupby(run.worlds)]
    if not changes:
        return None
    if len(changes) > _VALUES_SHOWN:
        changes = [*changes[: _VALUES_SHOWN - 1], f"… {changes[-1]}"]
    return ", then ".join(changes)


def _data(runs: Sequence[Run]) -> Iterator[str]:
    def of(split: str, default: str) -> Callable[[Run], str | None]:
        def text(run: Run) -> str | None:
            ending = "-" + run.settings.get(f"data.{split}_split", default)
            read = [
                f"{name} {digest[:_DIGEST_LENGTH]}"
                for name, digest in sorted(run.digests.items())
                if name.endswith(ending)
            ]
            return ", ".join(read) or None

        return text

    if told := _differing(runs, of("train", "train")):
        yield f"training data differs ({told}): they have learned from different images"
    if told := _differing(runs, of("val", "validation")):
        yield f"validation data differs ({told}): scores of different images do not compare"


def _evaluation(runs: Sequence[Run]) -> Iterator[str]:
    for key in _EVALUATION:
        if told := _differing(runs, lambda run, key=key: run.settings.get(key)):
            yield f"the evaluation differs, {key} ({told}): part of a gap may come from it"


def _epochs(groups: Sequence[Group]) -> Iterator[str]:
    counted = [run for group in groups for run in group.counted]
    done = _differing(counted, lambda run: None if run.epochs is None else f"{run.epochs:.4g}")
    if done:
        yield f"epochs done differ ({done}): the shorter ones may still have improved"


def _code(runs: Sequence[Run]) -> Iterator[str]:
    if told := _differing(runs, lambda run: run.code):
        yield f"code differs ({told}): part of a gap may come from it"
    changed = [run.name for run in runs if run.code and run.code.endswith("+ changes")]
    if changed:
        yield f"{_names(changed)}: ran code with uncommitted changes, unknown to its commit"


def _versions(runs: Sequence[Run]) -> Iterator[str]:
    for name in _VERSIONS:
        if told := _differing(runs, lambda run, name=name: run.tags.get(f"{name}_version")):
            yield f"{name} differs ({told}): the last digits may, and speed"
    # Runs without the tag are older than all other kernels.
    if told := _differing(runs, lambda run: run.tags.get("kernels", "torch")):
        yield f"kernels differ ({told}): the last digits may, and speed"


def _worlds(runs: Sequence[Run]) -> Iterator[str]:
    if told := _differing(runs, world_text):
        yield f"ranks differ ({told}): same training by design; speed is not comparable"


def _free(runs: Sequence[Run]) -> Iterator[str]:
    keys = sorted(k for k in free_settings() if not k.startswith(_WITHOUT_MEANING))
    for key in keys:
        if told := _differing(runs, lambda run, key=key: run.settings.get(key)):
            yield f"{key} differs ({told}): same training, but perhaps not its speed or length"


def _copies(groups: Sequence[Group]) -> Iterator[str]:
    found = [same for group in groups for same in repeats_of(group)]
    if not found:
        return
    told = [f"{_names([run.name for run in same])} (seed {same[0].seed})" for same in found]
    yield (
        f"same config and same seed: {_some(told)}; training is deterministic, so these are "
        "copies and count once"
    )


def _left_out(groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        seeds = {run.seed for run in group.counted}
        for run in group.runs if group.counted else ():
            if run not in group.counted and run.seed not in seeds:
                state = ", ".join(filter(None, [run.status, progress_text(run)]))
                yield f"{run.name} ({state}): not in the mean of {group.label}"


def _differing(runs: Iterable[Run], text: Callable[[Run], str | None]) -> str | None:
    """``a: 8; b and c: 4`` where the runs that have a text have several; else None."""
    names: dict[str, list[str]] = {}
    for run in runs:
        value = text(run)
        if value is not None:
            names.setdefault(value, []).append(run.name)
    if len(names) < 2:
        return None
    told = [f"{_names(found)}: {value}" for value, found in names.items()]
    return _some(told)


def _some(told: Sequence[str]) -> str:
    more = [f"{len(told) - _VALUES_SHOWN} more"] if len(told) > _VALUES_SHOWN else []
    return "; ".join([*told[:_VALUES_SHOWN], *more])


def _names(names: Sequence[str]) -> str:
    if len(names) > _NAMES_SHOWN:
        return f"{', '.join(names[: _NAMES_SHOWN - 1])} and {len(names) - _NAMES_SHOWN + 1} more"
    return " and ".join([*filter(None, [", ".join(names[:-1])]), names[-1]])
