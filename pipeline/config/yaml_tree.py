"""YAML to ``{dotted key: (value, place)}``: duplicate keys refused, ``3e-4`` is a number."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError


class _Loader(yaml.SafeLoader):
    pass


# YAML 1.1 as PyYAML reads it wants a dot and a sign in floats; people write 3e-4.
_Loader.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


@dataclass(frozen=True)
class Leaf:
    """One setting: its value, and where it was written (``file:line``)."""

    value: Any
    place: str


def parse_value(text: str) -> Any:
    """Read one scalar or flow collection as the config files do. Raises yaml.YAMLError."""
    return yaml.load(text, _Loader)


def read_tree(path: Path, problems: list[str]) -> dict[str, Leaf]:
    """Flatten a YAML file to its leaves; broken rules are appended to ``problems``.

    Raises UserError where the file cannot be read or is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"config {path}: {reason}; name a YAML file such as configs/m48.yaml"
        ) from None
    try:
        root = yaml.compose(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise UserError(f"{path}{line}: not valid YAML: {problem}") from None
    leaves: dict[str, Leaf] = {}
    if root is None:
        return leaves
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}:1: a config is a mapping of settings, such as `seed: 42`")
    _flatten(root, "", path, leaves, problems)
    return leaves


def _flatten(
    node: yaml.MappingNode, prefix: str, path: Path, leaves: dict[str, Leaf], problems: list[str]
) -> None:
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = str(key_node.value)
        if key in lines:
            problems.append(
                f"{path}:{line}: {prefix}{key} is written twice (first in line {lines[key]}); "
                "keep one of them"
            )
            continue
        lines[key] = line
        if isinstance(value_node, yaml.MappingNode) and value_node.value:
            _flatten(value_node, f"{prefix}{key}.", path, leaves, problems)
        else:
            leaves[prefix + key] = Leaf(_construct(value_node), f"{path}:{line}")


def _construct(node: yaml.Node) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_object(node, deep=True)  # pyright: ignore[reportUnknownMemberType]
    finally:
        loader.dispose()
