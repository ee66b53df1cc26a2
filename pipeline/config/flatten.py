"""A config as a flat table of dotted keys: the names that overrides, MLflow and compare use."""

import functools
from typing import Any

from pydantic import BaseModel

from pipeline.config.schema import Config


def dotted(config: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Flatten a config: ``{"optim.lr_base": 0.001, ...}`` in the schema's order."""
    flat: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            flat |= dotted(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


@functools.cache
def free_settings() -> frozenset[str]:
    """Dotted names of the settings that may change between launches of one run."""
    return _marked("free", Config, "")


@functools.cache
def manner_settings() -> frozenset[str]:
    """Dotted names of the settings that say how a training is computed, not what is trained."""
    return _marked("manner", Config, "")


def _marked(mark: str, section: type[BaseModel], prefix: str) -> frozenset[str]:
    names: set[str] = set()
    for name, info in section.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names |= _marked(mark, inner, f"{prefix}{name}.")
        elif info.json_schema_extra == {mark: True}:
            names.add(prefix + name)
    return frozenset(names)
