"""Stochastic depth: which branches of which image are dropped, and seeds for other layers."""

import numpy as np
from numpy.typing import NDArray

from pipeline.data.philox import Stream, uniforms


def drop_path_scales(
    rates: NDArray[np.float64], seed: int, step: int, micro_batch: int, batch: int
) -> NDArray[np.float32]:
    """What each residual branch of each image is multiplied with: 0, or 1 / (1 - rate).

    rates: (L,) drop rates of the branches; step and micro_batch: their numbers, the latter
    under 65,536 as is ``batch``. Returns (batch, L).
    """
    ids = np.arange(batch, dtype=np.int64) + (micro_batch << 16)
    draws = uniforms(seed, Stream.DROP_PATH, (step, ids), len(rates))
    return np.where(draws < rates, 0.0, 1.0 / (1.0 - rates)).astype(np.float32)


def torch_seed(seed: int, step: int, micro_batch: int) -> int:
    """Seed of the device's generator for a micro-batch, for layers that draw by themselves."""
    draw = uniforms(seed, Stream.TORCH, (step, np.array([micro_batch])), 2)[0]
    return int(draw[0] * 2**31) << 31 | int(draw[1] * 2**31)
