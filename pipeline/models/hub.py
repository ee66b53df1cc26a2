"""A model's folder in the form of timm and the Hugging Face hub: config.json, model.safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import nn

from pipeline.config import Config
from pipeline.models.build import TimmModel, weights_of
from pipeline.models.metaformer import MetaFormer
from pipeline.models.names import timm_architecture


def write_hub_folder(
    folder: Path, model: MetaFormer | TimmModel, config: Config, about: Mapping[str, Any]
) -> None:
    """Write both files. about: further keys of config.json, such as label_names.

    Where timm has the architecture, a model of its own holds the weights and timm writes the
    files; elsewhere config.json has the same form, with our name of the model. Raises OSError.
    """
    net = _timms_own(model, config)
    if net is not None:
        save_for_hf(
            net, str(folder), dict(about), safe_serialization=True, data_config=_images(config)
        )
        return
    state = {name: tensor.contiguous() for name, tensor in weights_of(model).state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    classes = config.model.num_classes
    facts = {"architecture": config.model.name, "num_classes": classes, **about}
    facts["pretrained_cfg"] = _images(config) | {"num_classes": classes}
    (folder / "config.json").write_text(json.dumps(facts, indent=2))


def _timms_own(model: MetaFormer | TimmModel, config: Config) -> nn.Module | None:
    architecture = timm_architecture(config.model)
    if architecture is None:
        return None
    if isinstance(model, TimmModel):
        return model.net
    net = timm.create_model(architecture, num_classes=config.model.num_classes)
    net.load_state_dict(model.state_dict())
    return net


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
