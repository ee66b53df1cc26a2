"""A model's folder in the form of timm and the Hugging Face hub: config.json, model.safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import save_file
from timm.models import get_pretrained_cfg, save_for_hf
from torch import nn

from pipeline.config import Config
from pipeline.models.build import MetaFormer, TimmModel, weights_of
from pipeline.models.names import timm_architecture


def write_hub_folder(
    folder: Path, model: MetaFormer | TimmModel, config: Config, about: Mapping[str, Any]
) -> str | None:
    """Write both files; returns timm's name of the architecture, or None where it has none.

    about: further keys of config.json, such as label_names. Where timm has the architecture, its
    own model takes the weights first, name by name, and timm writes the files. Raises OSError.
    """
    net, images = weights_of(model), _images(config)
    architecture = timm_architecture(config.model)
    if architecture is None:
        save_file(
            {name: tensor.contiguous() for name, tensor in net.state_dict().items()},
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )
        facts = {
            "architecture": config.model.name,
            "num_classes": config.model.num_classes,
            **about,
            "pretrained_cfg": images | {"num_classes": config.model.num_classes},
        }
        (folder / "config.json").write_text(json.dumps(facts, indent=2))
        return None
    twin = timms_own(architecture, config)
    twin.load_state_dict(net.state_dict())
    save_for_hf(twin, str(folder), dict(about), safe_serialization=True, data_config=images)
    return architecture


def timms_own(architecture: str, config: Config) -> nn.Module:
    """timm's model of that name for the config's classes and image size, weights by chance."""
    pretrained = get_pretrained_cfg(architecture)
    fixed = pretrained is not None and pretrained.fixed_input_size
    size = {"img_size": config.augment.img_size} if fixed else {}
    return timm.create_model(architecture, num_classes=config.model.num_classes, **size)


def _images(config: Config) -> dict[str, Any]:
    """How images are prepared, in timm's words."""
    side = config.augment.img_size
    return {
        "input_size": (3, side, side),
        "interpolation": config.evaluate.interpolation,
        "crop_pct": config.evaluate.crop_pct,
        "crop_mode": "center",
        "mean": config.augment.mean,
        "std": config.augment.std,
    }
