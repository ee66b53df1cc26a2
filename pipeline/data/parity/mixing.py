"""What the device does: mixing, normalising, erasing, targets and losses, beside timm's."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.config.schema import AugmentConfig
from pipeline.data.mix import HostErasures, Normaliser, mixed_targets
from pipeline.data.parity.images import Picture, crafted_squares, squares_of
from pipeline.data.parity.reference import mixing as theirs
from pipeline.data.parity.reference.mixing import NUM_CLASSES, TimmBatch
from pipeline.data.parity.rows import Measure, Row, worst

_SECTION = "Mixing, normalising and erasing beside timm: levels"
_LOSSES = "Targets and losses beside timm: relative"

# How float32 rounds.
_EXACT_LEVELS = 0.001
_EXACT = 1e-5
# timm's loader rounds what it mixes to whole levels.
_ROUNDED_LEVELS = 0.501

_BATCH, _SIDE = 12, 64
_SHARES = (0.0, 0.3, 0.8, 1.0)
_MODES = ("pixel", "rand", "const")
_SEED = 0
_CPU = torch.device("cpu")


def mixing_rows(photographs: Sequence[Picture], augment: AugmentConfig) -> Iterator[Row]:
    """One batch of photographs and made-up images, at several shares."""
    augment = augment.model_copy(update={"img_size": _SIDE})
    squares = [*squares_of(photographs[:_BATCH], _SIDE), *crafted_squares(_SIDE)]
    pixels = np.stack(squares[:_BATCH])
    labels = torch.arange(_BATCH) * 7 % NUM_CLASSES
    for is_cutmix, name in ((False, "mixup"), (True, "cutmix")):
        measures = [
            _levels(pixels, theirs.mixed(pixels, labels, augment, lam, is_cutmix, _SEED), augment)
            for lam in _SHARES
        ]
        yield Row(_SECTION, f"{name} of floats", worst(measures))
    for mode in _MODES:
        config = augment.model_copy(update={"remode": mode})
        for is_cutmix, name in ((False, "mixup"), (True, "cutmix")):
            bound = _EXACT_LEVELS if is_cutmix else _ROUNDED_LEVELS
            measures = [
                _levels(
                    pixels,
                    theirs.loaded(pixels, labels, config, lam, is_cutmix, _SEED),
                    config,
                    bound,
                )
                for lam in _SHARES
            ]
            what = f"{name} in the loader, then erasing ({mode})"
            yield Row(_SECTION, what, worst(measures))
    yield from _loss_rows(pixels, labels, augment)


def _levels(
    pixels: NDArray[np.uint8],
    timm: TimmBatch,
    config: AugmentConfig,
    bound: float = _EXACT_LEVELS,
) -> tuple[Measure, ...]:
    """The largest difference, times what one level is; erased pixels have to be the same."""
    erased = None if timm.erasures is None else HostErasures.ready(timm.erasures, _CPU)
    normalise = Normaliser(config, _CPU, torch.float32)
    images = normalise(torch.from_numpy(pixels), timm.mix, erased)
    level = torch.tensor(config.std).view(1, 3, 1, 1) * 255
    apart = (images - timm.images).abs() * level
    measures = [Measure("max", apart.max().item(), bound)]
    if timm.erasures is not None:
        inside = torch.zeros_like(apart)
        for row, top, left, height, width in timm.erasures.boxes.tolist():
            inside[row, :, top : top + height, left : left + width] = 1
        measures.append(Measure("erased max", (apart * inside).max().item(), 0.0))
    return tuple(measures)


def _loss_rows(pixels: NDArray[np.uint8], labels: Tensor, augment: AugmentConfig) -> Iterator[Row]:
    smoothing = augment.smoothing
    generator = torch.Generator().manual_seed(_SEED)
    logits = 3 * torch.randn(_BATCH, NUM_CLASSES, generator=generator)
    for is_cutmix, name in ((False, "mixup"), (True, "cutmix")):
        measures = []
        for lam in _SHARES:
            timm = theirs.mixed(pixels, labels, augment, lam, is_cutmix, _SEED)
            targets = mixed_targets(labels, timm.mix, NUM_CLASSES)
            smooth = targets * (1 - smoothing) + smoothing / NUM_CLASSES
            ours = cross_entropy(logits, targets, label_smoothing=smoothing)
            measures.append(
                (
                    Measure("targets", (smooth - timm.targets).abs().max().item(), _EXACT),
                    Measure("loss", _apart(ours, theirs.loss(logits, timm.targets)), _EXACT),
                )
            )
        yield Row(_LOSSES, f"{name}, smoothing {smoothing:g}", worst(measures))
    ours = cross_entropy(logits, labels, label_smoothing=smoothing)
    timm_loss = theirs.unmixed_loss(logits, labels, smoothing)
    yield Row(
        _LOSSES,
        f"not mixed, smoothing {smoothing:g}",
        (Measure("loss", _apart(ours, timm_loss), _EXACT),),
    )


def _apart(ours: Tensor, timms: Tensor) -> float:
    """Relative difference."""
    return abs(ours.item() / timms.item() - 1)
