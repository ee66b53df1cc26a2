"""Weights from a file into a model: any of the known names, and no silent difference."""

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models.build import TimmModel, weights_of
from pipeline.models.metaformer import MetaFormer
from pipeline.models.names import convert_names

_PICKLED = (".pth", ".pt", ".bin", ".tar")
_WRAPPERS = ("state_dict", "model", "state_dict_ema")
# Their sizes follow from the image size.
_SIZED = ("pos_embed", "random_matrix", "token_mixer.fc.weight")
_SHOWN = 3


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth, .pth.tar, .pt or .bin file, on the CPU.

    Pickled files are read with ``weights_only``, and unwrapped from ``state_dict``, ``model`` or
    ``state_dict_ema``. Raises UserError for a file that is missing, unreadable or has no tensors.
    """
    if not path.is_file():
        raise UserError(
            f"weights {path}: no such file or folder; name a .safetensors, .pth, .pt or .bin file, "
            "or the folder of a run, a checkpoint or an export"
        )
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise UserError(
                f"weights {path}: not readable as safetensors ({error}); fetch it again"
            ) from None
    if path.suffix not in _PICKLED:
        raise UserError(
            f"weights {path}: {path.suffix or 'no suffix'} is none of .safetensors, "
            f"{', '.join(_PICKLED)}; rename the file after what it is"
        )
    return _unwrap(_read_pickled(path), path)


def load_weights(
    model: MetaFormer | TimmModel,
    state: Mapping[str, Tensor],
    path_shown: str,
    num_classes: int,
    new_head: bool = False,
) -> None:
    """Put the tensors into the model; names of the original release are converted.

    new_head: keep the model's own classifier, whatever the weights have. Raises UserError where
    names or shapes differ, and names the setting where it is the number of classes.
    """
    net = weights_of(model)
    state = dict(state)
    if isinstance(model, MetaFormer) or any(name.startswith("network.") for name in state):
        try:
            state = convert_names(state, "ours")
        except UserError as error:
            raise UserError(f"{path_shown}: {error}") from None
    own = net.state_dict()
    classifier = _classifier_prefixes(net)
    if new_head:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(classifier)}
        state |= {name: tensor for name, tensor in own.items() if name.startswith(classifier)}
    _require_classes(state, own, classifier, path_shown, num_classes)
    _require_equal_names(state, own, path_shown)
    net.load_state_dict(state)


def _read_pickled(path: Path) -> object:
    try:
        # timm's checkpoints carry the command line that made them.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"weights {path}: no file of weights alone "
            f"({str(error).strip().splitlines()[0]}); save its state dict as .safetensors"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise UserError(
            f"weights {path}: not readable ({str(error).strip().splitlines()[0]}); fetch it again"
        ) from None


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, dict):
        content = next((content[key] for key in _WRAPPERS if key in content), content)
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(
            f"weights {path}: holds no tensors by name, alone or under "
            f"{', '.join(_WRAPPERS)}; save the model's state dict"
        )
    # Where all have it, it is DistributedDataParallel's.
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in content.items()}


def _classifier_prefixes(net: nn.Module) -> tuple[str, ...]:
    """``head.fc.`` of a MetaFormer; of timm's models, what they call their classifier."""
    if isinstance(net, MetaFormer):
        return ("head.fc.",)
    found = net.get_classifier()  # pyright: ignore[reportCallIssue]
    heads = found if isinstance(found, (tuple, list)) else (found,)
    return tuple(
        f"{name}." for name, module in net.named_modules() if any(module is h for h in heads)
    )


def _require_classes(
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    classifier: tuple[str, ...],
    path_shown: str,
    num_classes: int,
) -> None:
    for name, tensor in own.items():
        if not name.startswith(classifier) or name not in state or not tensor.ndim:
            continue
        has = state[name].shape[0] if state[name].ndim else 0
        if tensor.shape[0] == num_classes and has != num_classes:
            raise UserError(
                f"{path_shown}: {name} has {has} classes, model.num_classes={num_classes}; set "
                f"model.num_classes={has}, or model.new_head=true to begin a new classifier"
            )


def _require_equal_names(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], path_shown: str
) -> None:
    shapes = [
        f"{name} is {tuple(state[name].shape)} there, {tuple(own[name].shape)} here"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    problems = [
        f"{len(found)} {what}: {', '.join(found[:_SHOWN])}{', ...' if len(found) > _SHOWN else ''}"
        for what, found in (
            ("missing", [name for name in own if name not in state]),
            ("unexpected", [name for name in state if name not in own]),
            ("of another shape", shapes),
        )
        if found
    ]
    if not problems:
        return
    sized = any(shape.split(" ")[0].endswith(_SIZED) for shape in shapes)
    raise UserError(
        f"{path_shown}: the weights are not this model's; {'; '.join(problems)}; "
        + ("set augment.img_size to what they were trained at" if sized else "see section model")
    )
