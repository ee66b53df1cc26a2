"""From uint8 pixels to what the model takes, on the device: mixing, normalising, erasing."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pipeline.config.schema import AugmentConfig
from pipeline.data.augment.erasing import Erasures
from pipeline.data.augment.mixing import Mix

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
"""By their names in the config (engine.dtype)."""


@dataclass(frozen=True)
class HostErasures:
    """Erasures whose values are ready to be copied to the device."""

    erasures: Erasures
    values: Tensor

    @classmethod
    def ready(cls, erasures: Erasures, device: torch.device) -> "HostErasures":
        """Pinned where the device is a GPU, so that the copy does not wait."""
        return cls(erasures, to_host(erasures.values, device))


def to_host(values: np.ndarray, device: torch.device) -> Tensor:
    """A CPU tensor of the values, pinned where it is meant for a GPU."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory() if device.type == "cuda" else tensor


class Normaliser:
    """(B, H, W, 3) uint8 to (B, 3, H, W) in the engine's dtype and channels_last memory."""

    def __init__(self, config: AugmentConfig, device: torch.device, dtype: torch.dtype):
        mean, std = (torch.tensor(v, device=device) * 255 for v in (config.mean, config.std))
        square = (config.img_size, config.img_size, 3)
        # Spread out: a last dimension of 3 is slow on CPUs.
        self._scale = (1.0 / std).expand(square).contiguous()
        self._shift = (-mean / std).expand(square).contiguous()
        self._dtype = dtype
        self._is_on_gpu = device.type == "cuda"

    def __call__(
        self, pixels: Tensor, mix: Mix | None = None, erased: HostErasures | None = None
    ) -> Tensor:
        """Mix, normalise, erase: the order of timm's loader with its prefetcher."""
        count = len(pixels)
        if self._is_on_gpu:
            # They were made on the loader's stream, which must not take their memory back early.
            pixels.record_stream(torch.cuda.current_stream(pixels.device))
        images = torch.empty(pixels.shape, dtype=self._dtype, device=pixels.device)
        # One image at a time stays in a CPU's cache.
        size = count if self._is_on_gpu else 1
        for start in range(0, count, size):
            end = start + size
            done = images[start:end]
            piece = (
                done
                if self._dtype == torch.float32
                else torch.empty_like(done, dtype=torch.float32)
            )
            piece.copy_(pixels[start:end])
            if mix is not None:
                _mix_in(piece, pixels[count - end : count - start].flip(0), mix)
            piece.mul_(self._scale).add_(self._shift)
            if piece is not done:
                done.copy_(piece)
        if erased is not None:
            _erase(images, erased)
        return images.permute(0, 3, 1, 2)


def mixed_targets(labels: Tensor, mix: Mix, num_classes: int) -> Tensor:
    """labels: (B,) int64. Returns (B, num_classes) fp32 shares of each class; not smoothed."""
    own = one_hot(labels, num_classes).float()
    return torch.lerp(own.flip(0), own, mix.lam)


def _mix_in(images: Tensor, mirrored: Tensor, mix: Mix) -> None:
    """images: (N, H, W, 3) fp32, changed in place; mirrored: as many, uint8."""
    if mix.box is None:
        images.mul_(mix.lam).add_(mirrored, alpha=1.0 - mix.lam)
    else:
        top, left, bottom, right = mix.box
        images[:, top:bottom, left:right] = mirrored[:, top:bottom, left:right]


def _erase(images: Tensor, erased: HostErasures) -> None:
    values = erased.values.to(images.device, non_blocking=True)
    start = 0
    for row, top, left, height, width in erased.erasures.boxes.tolist():
        box = images[row, top : top + height, left : left + width]
        shape = (3, height, width) if erased.erasures.per_pixel else (3, 1, 1)
        count = int(np.prod(shape))
        box.copy_(values[start : start + count].view(shape).permute(1, 2, 0))
        start += count
