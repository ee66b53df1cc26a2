"""Counter-based random numbers: any draw is a pure function of its address, in any order.

Philox4x32-10 of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC11).
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """One stream per kind of draw: adding one leaves the others' numbers alone."""

    CROP = 1
    FLIP = 2
    FILTER = 3
    DROP_PATH = 4
    TORCH = 5
    RAND_AUGMENT = 6
    COLOR_JITTER = 7
    ERASING = 8
    ERASING_NOISE = 9
    MIX = 10


_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox4x32(counters: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """counters: (N, 4) uint32; key: two 32-bit words. Returns (N, 4) uint32 random words."""
    c0, c1, c2, c3 = (counters[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0)
        c1, c2 = p1 & _MASK, (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1)
        c3 = p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def uniforms(
    seed: int, stream: int, address: tuple[int, NDArray[np.int64]], draws: int
) -> NDArray[np.float64]:
    """Uniform numbers in the open interval (0, 1), ``draws`` for each address.

    seed and stream: 32 bits, the key; address: a number (epoch or step) and (N,) ids, both
    under 2**32. Returns (N, draws).
    """
    major, ids = address
    blocks = -(-draws // 4)
    counters = np.zeros((len(ids), blocks, 4), np.uint32)
    counters[:, :, 0] = np.arange(blocks)
    counters[:, :, 1] = ids[:, None]
    counters[:, :, 2] = major
    words = philox4x32(counters.reshape(-1, 4), (seed, stream))
    return (words.reshape(len(ids), 4 * blocks)[:, :draws] + np.float64(0.5)) / 2.0**32
