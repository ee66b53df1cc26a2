"""What the loader hands out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass takes; B images."""

    index: int
    """Number within the step; None of the ranks share one."""
    images: Tensor
    """(B, 3, img_size, img_size), normalised, dtype of the engine."""
    targets: Tensor
    """(B,) int64 labels; (B, num_classes) fp32 shares of each class where images are mixed."""
    drop_path: Tensor | None
    """(B, branches) scales for models that take them."""
    torch_seed: int
    """For layers that draw by themselves."""
    is_empty: bool = False
    """A slot without a micro-batch: its loss counts nothing."""
    ids: tuple[int, ...] = ()
    """Sample ids of the images, substitutes included."""


@dataclass(frozen=True)
class Step:
    """One optimizer step's share of this rank; every rank has equally many slots."""

    number: int
    slots: list[MicroBatch]
    wait_s: float
    """Seconds that the step waited for data."""


@dataclass(frozen=True)
class EvalBatch:
    """Images of an evaluation; the last batch of all may be smaller."""

    index: int
    ids: NDArray[np.int64]
    images: Tensor
    targets: Tensor
    is_padding: bool = False
    """Blank, so that all ranks make equally many forward passes; counts nothing."""
