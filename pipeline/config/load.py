"""Files and command line to one Config, and one report of everything that is wrong.

Precedence: schema defaults < the ``extends`` parent < the file < ``section.key=value``.
With a base, it takes the place of the parent: what the file itself says is tried on another config.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.flatten import dotted, free_settings
from pipeline.config.schema import Config
from pipeline.config.yaml_tree import Leaf, parse_value, read_tree
from pipeline.errors import UserError

COMMAND_LINE = "command line"
DEFAULT = "default"
BASE_FLAG = "--base"
BASE_HELP = "build on this config instead of what the file extends; the name becomes BASE-CONFIG"


@dataclass(frozen=True)
class Loaded:
    """A valid config and, per dotted key, where its value came from."""

    config: Config
    places: dict[str, str]


def load(path: Path | str, overrides: Sequence[str] = (), base: Path | str | None = None) -> Loaded:
    """Read a config file with its parents and ``section.key=value`` overrides.

    base: a config, with its own parents, that takes the place of what the file extends; the name
    becomes ``<base's>-<file's>``. Raises UserError that lists every problem found, each with its
    place and remedy.
    """
    path = Path(path)
    problems: list[str] = []
    if base is None:
        leaves = _named(path, _with_parents(path, problems, []))
        return _checked(str(path), leaves, overrides, problems)
    leaves = _on_base(path, Path(base), problems)
    return _checked(f"{path} on {base}", leaves, overrides, problems)


def load_settings(settings: Mapping[str, Any], place: str, overrides: Sequence[str] = ()) -> Loaded:
    """A config from settings by dotted key that another file keeps; ``place`` names it.

    Raises UserError as ``load`` does.
    """
    leaves = {key: Leaf(value, place) for key, value in settings.items()}
    return _checked(place, leaves, overrides, [])


def read_resolved(path: Path) -> Config:
    """Read a ``config.resolved.yaml``, as a run folder holds it."""
    return load(path).config


def write_resolved(config: Config) -> str:
    """The config as YAML text that ``load`` reads back to the same config."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False)


def training_differences(ours: Config, theirs: Config) -> list[str]:
    """``key: theirs -> ours`` for each setting that decides the losses and differs."""
    free, old = free_settings(), dotted(theirs)
    return [
        f"{key}: {show(old[key])} -> {show(value)}"
        for key, value in dotted(ours).items()
        if key not in free and old[key] != value
    ]


def show(value: Any) -> str:
    """A value as it is written in a config file."""
    if isinstance(value, tuple):
        items = cast(tuple[Any, ...], value)
        return "[" + ", ".join(show(item) for item in items) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _checked(
    source: str, leaves: dict[str, Leaf], overrides: Sequence[str], problems: list[str]
) -> Loaded:
    for override in overrides:
        _apply_override(override, leaves, problems)
    values = _nest(leaves, problems)
    config: Config | None = None
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        problems += [_describe(details, leaves) for details in error.errors()]
    if config is None or problems:
        listed = "".join(f"\n  {problem}" for problem in dict.fromkeys(problems))
        count = len(dict.fromkeys(problems))
        raise UserError(f"{source}: {count} problem{'s' * (count > 1)}{listed}")
    places = {key: leaves[key].place if key in leaves else DEFAULT for key in dotted(config)}
    return Loaded(config, places)


def _named(path: Path, leaves: dict[str, Leaf]) -> dict[str, Leaf]:
    return {"name": Leaf(path.stem, "file name")} | leaves


def _on_base(path: Path, base: Path, problems: list[str]) -> dict[str, Leaf]:
    if not base.is_file():
        raise UserError(f"{BASE_FLAG} {base}: no such file; name a config to build {path} on")
    below = _named(base, _with_parents(base, problems, []))
    own = _named(path, read_tree(path, problems))
    own.pop("extends", None)
    # Runs of the same file on its own parent, or on another base, are others.
    own["name"] = Leaf(f"{below['name'].value}-{own['name'].value}", BASE_FLAG)
    return below | own


def _with_parents(path: Path, problems: list[str], children: list[Path]) -> dict[str, Leaf]:
    if path.resolve() in children:
        raise UserError(f"{path}: extends leads back to this file; remove one of the `extends`")
    leaves = read_tree(path, problems)
    parent = leaves.pop("extends", None)
    if parent is None:
        return leaves
    if not isinstance(parent.value, str):
        raise UserError(f"{parent.place}: extends={parent.value!r} must name one file")
    parent_path = path.parent / parent.value
    if not parent_path.is_file():
        raise UserError(f"{parent.place}: extends={parent.value}: no such file {parent_path}")
    inherited = _with_parents(parent_path, problems, [*children, path.resolve()])
    inherited.pop("name", None)
    return inherited | leaves


def _apply_override(override: str, leaves: dict[str, Leaf], problems: list[str]) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        problems.append(f"{COMMAND_LINE}: {override!r} is no section.key=value")
        return
    try:
        value = parse_value(text)
    except yaml.YAMLError:
        problems.append(f"{COMMAND_LINE}: {override!r}: the value is not valid YAML")
        return
    for stale in [name for name in leaves if name.startswith(f"{key}.")]:
        del leaves[stale]
    # To the end: a rule of its section blames what was written last.
    leaves.pop(key, None)
    leaves[key] = Leaf(value, COMMAND_LINE)


def _nest(leaves: dict[str, Leaf], problems: list[str]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, leaf in leaves.items():
        *sections, last = key.split(".")
        node = nested
        for section in sections:
            inner: Any = node.setdefault(section, {})
            if not isinstance(inner, dict):
                problems.append(f"{leaf.place}: {key}: {section} is a setting, not a section")
                break
            node = cast(dict[str, Any], inner)
        else:
            node[last] = leaf.value
    return nested


def _describe(details: ErrorDetails, leaves: dict[str, Leaf]) -> str:
    names = [str(part) for part in details["loc"]]
    known = dotted(Config())
    # Pydantic's location ends in list positions and union branches that are no settings.
    while len(names) > 1 and ".".join(names) not in leaves and ".".join(names) not in known:
        if details["type"] == "extra_forbidden":
            break
        names.pop()
    key = ".".join(names)
    place = _place(key, leaves)
    if details["type"] == "extra_forbidden":
        return f"{place}: {key}: unknown setting{_near_miss(key, known)}"
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "value_error":
        return f"{place}: {key}: {message}" if key else message
    value = leaves[key].value if key in leaves else details["input"]
    shown = repr(value) if isinstance(value, str) else show(value)
    if isinstance(value, dict):
        shown = "{...}"
    return f"{place}: {key}={shown}: {message[0].lower()}{message[1:]}"


def _place(key: str, leaves: dict[str, Leaf]) -> str:
    if key in leaves:
        return leaves[key].place
    # A rule of a whole section: point at the settings of it that were written last.
    written = [leaf.place for name, leaf in leaves.items() if name.startswith(f"{key}.")]
    return written[-1] if written else DEFAULT


def _near_miss(key: str, known: dict[str, Any]) -> str:
    same_name = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    close = same_name or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    last = {name.split(".")[-1]: name for name in known}
    if not close:
        close = [last[m] for m in difflib.get_close_matches(key.split(".")[-1], last, n=1)]
    return (
        f"; did you mean {close[0]}?" if close else "; `python -m pipeline.config FILE` lists all"
    )
