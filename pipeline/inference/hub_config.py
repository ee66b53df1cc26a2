"""config.json as timm and the Hugging Face hub have it, as settings of ours; no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Config, dotted
from pipeline.errors import UserError

CONFIG = "config.json"
OWN_SETTINGS = "imagenet_pipeline"
"""Key of settings by dotted name that timm's keys do not say."""

_OWN = ("device", "engine.dtype", "model.")
# Where they came from and how they were trained is nothing to compute with, and which kernels
# there are is the next machine's matter.
_NOT_OWN = ("model.init_from", "model.new_head", "model.freeze", "model.kernels")


def own_settings(config: Config) -> dict[str, Any]:
    """What an exported config.json keeps under OWN_SETTINGS."""
    unread = () if config.model.name == "metaformer" else ("model.metaformer.",)
    return {
        key: value
        for key, value in dotted(config).items()
        if key.startswith(_OWN) and not key.startswith((*_NOT_OWN, *unread))
    }


def read_hub_config(path: Path) -> dict[str, Any]:
    """A config.json. Raises UserError where it is damaged or not of timm's form."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged JSON ({error}); export the model again") from None
    if not isinstance(found, dict) or not {"architecture", "pretrained_cfg"} <= found.keys():
        raise UserError(
            f"{path}: no architecture and pretrained_cfg in it, so not of timm's form; name the "
            "model's settings with --config FILE"
        )
    return found


def hub_settings(hub: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted key: those that timm's keys say, and then those kept as our own."""
    images = hub["pretrained_cfg"]
    said = {
        "model.name": hub["architecture"],
        "model.num_classes": hub.get("num_classes", images.get("num_classes")),
        "augment.img_size": (images.get("input_size") or (None, None))[1],
        "augment.mean": images.get("mean"),
        "augment.std": images.get("std"),
        "evaluate.crop_pct": images.get("crop_pct"),
        "evaluate.interpolation": images.get("interpolation"),
    }
    known = {key: value for key, value in said.items() if value is not None}
    return known | hub.get(OWN_SETTINGS, {})


def hub_classes(hub: Mapping[str, Any]) -> list[str] | None:
    """Class names by label, where there is one for each."""
    names = hub.get("label_names") or hub["pretrained_cfg"].get("label_names")
    return [str(name) for name in names] if isinstance(names, list) else None
