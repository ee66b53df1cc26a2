"""Which runs a command line means: by name, folder, pattern, id, experiment, tag or filter."""

import argparse
import difflib
import fnmatch
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.compare.reading.filters import read_filter
from pipeline.compare.reading.load import load_runs
from pipeline.compare.run import Run
from pipeline.errors import DataError, UserError
from pipeline.log import info
from pipeline.tracking.run_folder import list_runs, read_run_info, resolve_run
from pipeline.tracking.store_uri import URI_VARIABLE, store_of_sync

_ID = re.compile(r"[0-9a-f]{6,32}")
_PATTERN_CHARACTERS = frozenset("*?[")
_NAMES_SHOWN = 10


@dataclass(frozen=True)
class Wanted:
    """A selection as it was typed. ``store`` is where to read; "" the default, None the folders."""

    runs: tuple[str, ...] = ()
    experiment: str | None = None
    tags: tuple[str, ...] = ()
    filter: str | None = None
    baseline: str | None = None
    runs_root: Path = Path("runs")
    store: str | None = None

    @property
    def is_everything(self) -> bool:
        return not (self.runs or self.experiment or self.tags or self.filter)


@dataclass(frozen=True)
class _Candidate:
    """A run that may be chosen, before its journal or its histories are read."""

    name: str
    experiment: str | None
    ids: tuple[str, ...]
    """MLflow's run id and the run_key."""
    source: Any
    """What it is read from: a folder, or a run of a store."""

    def is_called(self, name: str) -> bool:
        return name in (self.name, *self.ids)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that select runs."""
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="name, folder, pattern ('s12-*'), MLflow run id or run_key, of which 6 characters "
        "suffice; default: all runs",
    )
    parser.add_argument("--experiment", metavar="E", help="only runs of this experiment")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="KEY=VALUE", help="only runs with this tag"
    )
    parser.add_argument(
        "--filter",
        metavar="EXPR",
        help="only runs for which this holds: settings, tags, results and metrics, such as "
        "'train.epochs>=100 and status=FINISHED and best_top1>70'",
    )
    parser.add_argument(
        "--baseline",
        metavar="RUN",
        help="run or group that the others are held against; default: the first given, or by name",
    )
    parser.add_argument("--runs-root", default="runs", help="default: %(default)s")
    parser.add_argument(
        "--from-mlflow",
        nargs="?",
        const="",
        metavar="URI",
        help=f"read from this store instead of the folders; else ${URI_VARIABLE}, "
        "sqlite:///mlflow.db",
    )


def wanted(args: argparse.Namespace) -> Wanted:
    """What the options say."""
    return Wanted(
        runs=tuple(args.runs),
        experiment=args.experiment,
        tags=tuple(args.tag),
        filter=args.filter,
        baseline=args.baseline,
        runs_root=Path(args.runs_root),
        store=args.from_mlflow,
    )


def select_runs(want: Wanted) -> list[Run]:
    """Read the runs that are meant, in the order in which they were named.

    Raises UserError where there are none, and StoreUnavailable or StoreRefused from a store.
    """
    runs = _from_folders(want) if want.store is None else _from_store(want)
    for tag in want.tags:
        runs = _kept(want, runs, _tag_filter(tag, runs), f"--tag {tag}")
    if want.filter is not None:
        runs = _kept(want, runs, read_filter(want.filter, runs), f"--filter {want.filter!r}")
    if want.experiment and not (want.runs or want.filter):
        _check_finished(want.experiment, runs)
    return runs


def _from_folders(want: Wanted) -> list[Run]:
    candidates = [_folder_candidate(path) for path in list_runs(want.runs_root)]
    if not candidates and not want.runs:
        raise UserError(f"no runs under {want.runs_root}; train first, or see --runs-root")

    def elsewhere(name: str) -> _Candidate:
        return _folder_candidate(resolve_run(name, want.runs_root))

    chosen = _chosen(want, candidates, elsewhere, f"under {want.runs_root}")
    return load_runs([one.source for one in chosen], workers=len(os.sched_getaffinity(0)))


def _from_store(want: Wanted) -> list[Run]:
    from pipeline.compare.reading.from_mlflow import read_stored
    from pipeline.tracking.upload.mlflow_store.reading import StoreReader

    store = store_of_sync(want.store or None, None, os.environ, Path.cwd())
    reader = StoreReader(store)
    candidates = [
        _Candidate(one.name, one.experiment, (one.run_id, one.run_key), one)
        for one in sorted(reader.runs(), key=lambda one: one.name)  # as folders are
    ]
    where = f"in MLflow at {store.shown}"
    if not candidates:
        raise UserError(f"no runs of this pipeline {where}; sync some, or name another store")

    def unknown(name: str) -> _Candidate:
        raise UserError(f"run {name!r}: not {where}; {_near(name, (c.name for c in candidates))}")

    chosen = _chosen(want, candidates, unknown, where)
    here = {key: path for path in list_runs(want.runs_root) for key in _folder_candidate(path).ids}
    return read_stored([one.source for one in chosen], reader.histories, here)


def _folder_candidate(path: Path) -> _Candidate:
    try:
        known = read_run_info(path)
    except DataError:
        known = {}  # whoever reads the whole run says so
    ids = tuple(str(known[key]) for key in ("mlflow_run_id", "run_key") if known.get(key))
    return _Candidate(path.absolute().name, known.get("experiment"), ids, path)


def _chosen(
    want: Wanted,
    candidates: Sequence[_Candidate],
    otherwise: Callable[[str], _Candidate],
    where: str,
) -> list[_Candidate]:
    """Those that are named, or all, of the experiment; and the baseline. Each once."""
    chosen = [one for name in want.runs for one in _meant(name, candidates, otherwise)]
    chosen = _of_experiment(want.experiment, chosen if want.runs else candidates, where)
    if want.baseline is not None:
        chosen += [one for one in candidates if one.is_called(want.baseline)]
    unique = list({_identity(one): one for one in chosen}.values())
    if want.is_everything:
        info(f"all {len(unique)} runs {where}")
    return unique


def _identity(candidate: _Candidate) -> str:
    source = candidate.source
    return str(source.resolve()) if isinstance(source, Path) else candidate.ids[0]


def _meant(
    name: str, candidates: Sequence[_Candidate], otherwise: Callable[[str], _Candidate]
) -> list[_Candidate]:
    if exact := [one for one in candidates if one.is_called(name)]:
        return exact
    if _PATTERN_CHARACTERS & set(name):
        found = [one for one in candidates if fnmatch.fnmatchcase(one.name, name)]
        if not found:
            hint = _near(name, (one.name for one in candidates))
            raise UserError(f"run {name!r}: no run's name is like it; {hint}")
        return found
    begun = [one for one in candidates if any(i.startswith(name) for i in one.ids)]
    if begun and _ID.fullmatch(name):
        if len(begun) > 1:
            names = ", ".join(one.name for one in begun[:_NAMES_SHOWN])
            raise UserError(f"run {name!r}: the ids of {names} begin so; give more of it")
        return begun
    return [otherwise(name)]


def _of_experiment(
    experiment: str | None, candidates: Sequence[_Candidate], where: str
) -> list[_Candidate]:
    found = [one for one in candidates if experiment in (None, one.experiment)]
    if not found:
        known = sorted({one.experiment for one in candidates if one.experiment})
        raise UserError(
            f"--experiment {experiment!r}: no run {where} is of it; {_near(experiment, known)}"
        )
    return found


def _tag_filter(tag: str, runs: Sequence[Run]) -> Callable[[Run], bool]:
    key, equals, value = tag.partition("=")
    if not equals:
        raise UserError(f"--tag {tag!r}: write KEY=VALUE, such as git_dirty=false")
    known = dict.fromkeys(name for run in runs for name in run.tags)
    if key not in known:
        raise UserError(f"--tag {tag!r}: no run has a tag {key!r}; {_near(key, known)}")
    return lambda run: run.tags.get(key) == value


def _kept(
    want: Wanted, runs: Sequence[Run], holds: Callable[[Run], bool], option: str
) -> list[Run]:
    """The runs for which it holds, and the baseline, for it was named."""
    found = [run for run in runs if holds(run)]
    if not found:
        raise UserError(f"{option}: holds for none of the {len(runs)} runs")
    named = (want.baseline,) if want.baseline is not None else ()
    return [
        run
        for run in runs
        if run in found or run.name in named or run.mlflow_run_id in named or run.run_key in named
    ]


def _check_finished(experiment: str, runs: Sequence[Run]) -> None:
    if any(run.status == "FINISHED" for run in runs):
        return
    states = Counter(run.status for run in runs)
    told = ", ".join(f"{count} {status}" for status, count in states.items())
    raise UserError(
        f"--experiment {experiment!r}: none of its {len(runs)} runs has finished ({told}); name "
        "runs to compare them as they are"
    )


def _near(name: str | None, known: Iterable[str]) -> str:
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name or "", names, n=3, cutoff=0.4)
    if near:
        return f"did you mean {' or '.join(near)}?"
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"there are {', '.join(names[:_NAMES_SHOWN]) or 'none'}{more}"
