"""What a model costs: parameters, multiply-adds, activations; counted, nothing is computed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from pipeline.config import Config
from pipeline.config.schema import ModelConfig
from pipeline.models.build import TimmModel, build_model
from pipeline.models.metaformer import MetaFormer

ACTIVATION_METHOD = (
    "storages that autograd keeps between forward and backward pass, weights apart, each once; "
    "fused attention, loss included"
)
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Cost:
    """Of a model or a part of it."""

    trained: int
    """Parameters that training changes."""
    frozen: int
    """Other parameters, and the random matrices of mixers."""
    macs: int
    """Multiply-adds of one image in convolutions and matrix products."""


@dataclass(frozen=True)
class ModelCost:
    """A model as a whole, and part by part."""

    total: Cost
    parts: dict[str, Cost]
    """By module name: stem, stages.0, ..., head; empty for timm's models."""


def model_cost(config: ModelConfig, img_size: int) -> ModelCost:
    """Count on the meta device, so no weight takes memory. Raises UserError as build_model does."""
    with torch.device("meta"):
        model = build_model(config, 0, img_size).eval()
        images = torch.empty(1, 3, img_size, img_size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(images)
    counts = counter.get_flop_counts()
    parts: dict[str, Cost] = {}
    if isinstance(model, MetaFormer):
        names = ["stem", *(f"stages.{i}" for i in range(len(model.depths))), "head"]
        parts = {
            name: _cost(model.get_submodule(name), counts.get(f"MetaFormer.{name}", {}))
            for name in names
        }
    return ModelCost(_cost(model, counts["Global"]), parts)


def _cost(module: nn.Module, operations: Mapping[Callable[..., object], int]) -> Cost:
    parameters = list(module.parameters())
    matrices = [b for name, b in module.named_buffers() if name.endswith("random_matrix")]
    fixed = [*matrices, *(p for p in parameters if not p.requires_grad)]
    return Cost(
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        frozen=sum(tensor.numel() for tensor in fixed),
        # The counter takes a multiply-add as two operations.
        macs=sum(operations.values()) // 2,
    )


def training_flops(config: ModelConfig, img_size: int) -> int:
    """Operations of one image's forward and backward pass in convolutions and matrix products.

    Counted on the meta device as autograd performs them: three times the forward pass, less the
    gradient of the images, of weights that model.freeze keeps, and of all before the first
    trained one. A multiply-add is two operations. Raises UserError as build_model does.
    """
    with torch.device("meta"):
        model = build_model(config, 0, img_size).eval()
        images = torch.empty(1, 3, img_size, img_size)
        with FlopCounterMode(display=False, custom_mapping=MENDED_COUNTS) as counter:
            model(images).sum().backward()
    return counter.get_total_flops()


def _convolution_backward(
    gradient: Sequence[int],
    images: Sequence[int],
    weights: Sequence[int],
    _bias: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    is_transposed: bool,
    _output_padding: object,
    _groups: int,
    wanted: Sequence[bool],
    **_: object,
) -> int:
    """Operations, from shapes; wanted: the gradients of the images, weights and bias.

    Either is as much as the forward pass. PyTorch 2.14's own count of the weights' gradient
    forgets that a group's outputs see that group's inputs alone.
    """
    positions = math.prod(images if is_transposed else gradient)
    return 2 * positions * math.prod(weights[1:]) * sum(wanted[:2])


MENDED_COUNTS = {torch.ops.aten.convolution_backward: _convolution_backward}
"""For FlopCounterMode's custom_mapping."""


def activation_bytes(config: Config) -> int:
    """Memory of a training micro-batch for the backward pass, by ACTIVATION_METHOD.

    Tensors are fake: they have shapes, dtypes and storages but no memory.
    """
    with torch.device("meta"):
        model = build_model(config.model, 0, config.augment.img_size)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = model.to_empty(device="cpu").train()
        for parameter in model.parameters():
            parameter.data = parameter.data.to(_DTYPES[config.engine.dtype])
        weights = {_key(parameter) for parameter in model.parameters()}
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[_key(tensor)] = tensor.untyped_storage()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = _loss(model, config)
        total = sum(storage.nbytes() for key, storage in kept.items() if key not in weights)
        del loss
    return total


def _loss(model: MetaFormer | TimmModel, config: Config) -> Tensor:
    dtype = _DTYPES[config.engine.dtype]
    side, batch = config.augment.img_size, config.train.micro_batch
    images = torch.empty(batch, side, side, 3, dtype=dtype).permute(0, 3, 1, 2)
    branches = len(model.drop_path_rates)
    scales = torch.empty(batch, branches, dtype=dtype) if branches else None
    logits = model(images, scales)
    targets = torch.empty(batch, config.model.num_classes)
    return cross_entropy(logits.float(), targets, label_smoothing=config.augment.smoothing)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
