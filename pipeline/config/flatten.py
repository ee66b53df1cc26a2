"""A config as a flat table of dotted keys: the names that overrides, MLflow and compare use."""

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


def free_settings(section: type[BaseModel] = Config, prefix: str = "") -> frozenset[str]:
    """Dotted names of the settings that may change between launches of one run."""
    names: set[str] = set()
    for name, info in section.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names |= free_settings(inner, f"{prefix}{name}.")
        elif info.json_schema_extra == {"free": True}:
            names.add(prefix + name)
    return frozenset(names)
