"""One command, many runs: config files, seeds and grids of settings as a list of runs; pure."""

import hashlib
import itertools
import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import yaml

from pipeline.config import Config, Loaded, load
from pipeline.config.flatten import dotted
from pipeline.config.load import BASE_FLAG, show
from pipeline.config.yaml_tree import parse_value
from pipeline.errors import PipelineError, UserError

_IN_A_NAME_CHARS = 24
"""Longer values stand in names with their beginning and a hash."""
_EXPERIMENT = "tracking.experiment"
_NOT_SWEPT = {
    "name": "names follow from what is swept",
    "runs_root": "all runs of a sweep lie in one folder",
    _EXPERIMENT: "a sweep is one experiment",
}
_FLAGS = ("--seeds", "--sweep", "--parallel", "--name")
"""What the overrides of one run stand for."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Swept:
    """What the flags say beside the config files."""

    seeds: int | tuple[int, ...] | None = None
    """A number of seeds, from the config's own on, or the seeds themselves."""
    grid: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Dotted key and its values as they were typed."""

    def __bool__(self) -> bool:
        return self.seeds is not None or bool(self.grid)


@dataclass(frozen=True)
class Variant:
    """One run of a sweep."""

    config_file: str
    overrides: tuple[str, ...]
    """All that the command line says of it: the words of the user, and what is swept."""
    base_name: str
    """Its name without what is swept."""
    loaded: Loaded

    @property
    def config(self) -> Config:
        return self.loaded.config


def parse_seeds(text: str) -> int | tuple[int, ...]:
    """``3`` as a number of seeds, ``1,7`` or ``7,`` as seeds. Raises ValueError."""
    words = [word.strip() for word in text.split(",")]
    numbers = [word for word in words if word]
    if not numbers or not all(word.isascii() and word.isdigit() for word in numbers):
        raise ValueError(f"{text!r} is no number of seeds, such as 3, and no list such as 1,7,9")
    seeds = tuple(map(int, numbers))
    if len(words) == 1:
        if seeds[0] < 1:
            raise ValueError("a number of seeds is at least 1; `0,` is the seed 0")
        return seeds[0]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{text!r} names a seed twice")
    return seeds


def parse_sweep(text: str) -> tuple[str, tuple[str, ...]]:
    """``key=v1,v2``; commas inside brackets and quotes part nothing. Raises ValueError."""
    key, equals, values = text.partition("=")
    if not equals or not key:
        raise ValueError(f"{text!r} is no section.key=value,value,...")
    if key in _NOT_SWEPT:
        raise ValueError(f"{key} cannot be swept: {_NOT_SWEPT[key]}")
    typed = tuple(value.strip() for value in _split(values))
    if not all(typed):
        raise ValueError(f"{text!r} has an empty value; null is what is called none")
    try:
        meant = [repr(parse_value(value)) for value in typed]
    except yaml.YAMLError:
        raise ValueError(f"{text!r}: a value is not valid YAML") from None
    twice = [
        value for value, count in zip(typed, map(meant.count, meant), strict=True) if count > 1
    ]
    if twice:
        raise ValueError(f"{text!r} has the same value twice ({' and '.join(twice)})")
    return key, typed


def expand(
    files: Sequence[str], overrides: Sequence[str], swept: Swept, base: str | None = None
) -> list[Variant]:
    """Every file with every seed and every point of the grid, loaded and named.

    base: as of ``load``, for all files. All go to the MLflow experiment of the first. Raises
    UserError that lists the problems of all.
    """
    _refuse_contradictions(overrides, swept)
    firsts = each(files, lambda file: load(file, overrides, base).config, names=files)
    wanted: list[tuple[str, tuple[str, ...], str]] = []
    for file, first in zip(files, firsts, strict=True):
        experiment = firsts[0].tracking.experiment
        moved = [] if first.tracking.experiment == experiment else [f"{_EXPERIMENT}={experiment}"]
        for settings in _points(first.seed, swept):
            extra = [f"{key}={value}" for key, value in settings]
            extra += [f"name={first.name}{_suffix(settings)}"] if settings else []
            wanted.append((file, (*overrides, *moved, *extra), first.name))
    loaded = each(wanted, lambda run: load(run[0], run[1], base), names=[run[0] for run in wanted])
    variants = [Variant(*run, one) for run, one in zip(wanted, loaded, strict=True)]
    _refuse_twins(variants)
    return variants


def each(
    items: Sequence[Item], act: Callable[[Item], Result], names: Sequence[str]
) -> list[Result]:
    """``act`` on every item; what goes wrong is told in one report, equal troubles once.

    Raises the error itself where there is one item; else one of the items' kind, or UserError
    where these are of several kinds.
    """
    results: list[Result] = []
    errors: list[PipelineError] = []
    # Paths have the run's own name in them: what is equal but for it is one trouble.
    troubles: dict[str, tuple[str, list[str]]] = {}
    for item, name in zip(items, names, strict=True):
        try:
            results.append(act(item))
        except PipelineError as error:
            errors.append(error)
            trouble = str(error).removeprefix(f"{name}: ")
            own = rf"(?<![\w.-]){re.escape(name)}(?![\w.-])"
            troubles.setdefault(re.sub(own, "\0", trouble), (trouble, []))[1].append(name)
    if not errors:
        return results
    if len(items) == 1:
        raise errors[0]
    kinds = {type(error) for error in errors}
    kind = kinds.pop() if len(kinds) == 1 else UserError
    listed = "".join(
        f"\n- {some(who)}: {trouble}".replace("\n", "\n  ").replace("\n  -", "\n-", 1)
        for trouble, who in troubles.values()
    )
    raise kind(f"{len(errors)} of {len(items)} cannot be launched, so nothing was:{listed}")


def departures(configs: Sequence[Config]) -> list[dict[str, str]]:
    """Per config the settings, by dotted key, whose value is not that of most of the others."""
    flat = [dotted(config) for config in configs]
    keys = [
        key
        for key in flat[0]
        if key not in ("name", "runs_root") and len({repr(one[key]) for one in flat}) > 1
    ]
    shown = [{key: show(one[key]) for key in keys} for one in flat]
    usual = {
        key: {v for v, n in Counter(one[key] for one in shown).items() if n > len(shown) / 2}
        for key in keys
    }
    return [{key: v for key, v in one.items() if v not in usual[key]} for one in shown]


def single_command(arguments: Sequence[str], files: Sequence[str], variant: Variant) -> str:
    """What launches one of the runs alone; arguments: those of the command for all of them."""
    flags: list[str] = []
    before = ""
    for word in arguments:
        is_ours = word.partition("=")[0] in _FLAGS or before in _FLAGS
        # The base may be one of the files as well.
        is_known = (word in files or word in variant.overrides) and before != BASE_FLAG
        if not (is_ours or is_known or word == "--json"):
            flags.append(word)
        before = word
    words = [variant.config_file, *variant.overrides, *flags]
    return shlex.join(["python", "slurm/launch.py", *words])


def common_name(variants: Sequence[Variant]) -> str:
    """What the runs have in common: the name before its settings, else the experiment's."""
    bases = {variant.base_name for variant in variants}
    return bases.pop() if len(bases) == 1 else _clean(variants[0].config.tracking.experiment)


def _points(seed: int, swept: Swept) -> list[list[tuple[str, str]]]:
    axes = [[(key, value) for value in values] for key, values in swept.grid]
    if swept.seeds is not None:
        seeds = range(seed, seed + swept.seeds) if isinstance(swept.seeds, int) else swept.seeds
        axes.append([("seed", str(number)) for number in seeds])
    return [list(point) for point in itertools.product(*axes)]


def _suffix(settings: Sequence[tuple[str, str]]) -> str:
    """``-lr_base-1e-3-seed43``: the last part of a key, or all of it where that is not unique."""
    last = Counter(key.rpartition(".")[2] for key, _ in settings)
    parts: list[str] = []
    for key, value in settings:
        short = key.rpartition(".")[2]
        name = short if last[short] == 1 else key
        parts.append(f"-seed{value}" if key == "seed" else f"-{name}-{_clean(value)}")
    return "".join(parts)


def _clean(value: str) -> str:
    """A value in letters that names of runs may have: ``[1, 2] -> 1.2``."""
    text = re.sub(r"[^A-Za-z0-9_-]+", ".", value).strip(".")
    if len(text) <= _IN_A_NAME_CHARS:
        return text
    return f"{text[: _IN_A_NAME_CHARS - 7]}-{hashlib.sha256(value.encode()).hexdigest()[:6]}"


def _split(text: str) -> list[str]:
    """At the commas that stand outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if char == "," and not depth and not quote:
            parts.append("")
            continue
        parts[-1] += char
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            depth += (char in "[{") - (char in "]}")
    return parts


def _refuse_contradictions(overrides: Sequence[str], swept: Swept) -> None:
    said = {word.partition("=")[0] for word in overrides}
    keys = Counter(key for key, _ in swept.grid)
    for key, count in keys.items():
        if count > 1:
            raise UserError(f"--sweep {key} is there {count} times; name all its values in one")
        if key in said:
            raise UserError(f"--sweep {key} and {key}=... both set it; drop one of them")
    if "seed" in keys and swept.seeds is not None:
        raise UserError("--seeds and --sweep seed both set it; drop one of them")


def _refuse_twins(variants: Sequence[Variant]) -> None:
    files: dict[str, list[str]] = {}
    for variant in variants:
        files.setdefault(variant.config.name, []).append(variant.config_file)
    for name, twins in files.items():
        if len(twins) > 1:
            raise UserError(
                f"{len(twins)} runs would be called {name!r} ({some(twins)}); "
                "rename a file, or leave name=... to commands of one run"
            )


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few of many names."""
    different = list(dict.fromkeys(names))
    more = len(different) - most
    return ", ".join(different[:most]) + (f" and {more} more" if more > 0 else "")
