"""How often a block's kernels pass over its map in memory, and what they keep; no torch.

A pass is one reading or writing of a map of C channels, (B, C, H, W); the hidden layer of the
MLP has 4 C channels, so one reading of it is 4 passes. Weights, sums per tile and rereading
from the cache are not counted: at 56 × 56 and 96 channels the sums are a third of a pass in all.
"""

from typing import Literal, NamedTuple

Part = Literal["pooling", "mlp", "mlp with epilogues"]


class Passes(NamedTuple):
    """Of one forward and backward; matrix products alone are apart, for they may hide theirs."""

    elementwise: int
    """In kernels that do no matrix product, and what epilogues add to a product's own."""
    products: int
    """Operands and results of the matrix products, as a library would read and write them."""


def passes(part: Part) -> Passes:
    """Passes of one half of a block, forward and backward.

    pooling: forward 2 (x, y), backward 5 (x, g; x, g, dx).

    mlp: forward 13 (normalise 1 + 1, activation 4 + 4, join 2 + 1) and products 5 + 5;
    backward 16 (gradient of the activation 8 + 4, dx 3 + 1) and four products of 5.

    mlp with epilogues: forward 5 (the first product writes the hidden layer twice, before and
    after the activation: 4; the second reads x: 1), backward 6 (the activation's input: 4; x and
    g: 2). The operands and results of the products remain: 10 + 20.
    """
    if part == "pooling":
        return Passes(elementwise=7, products=0)
    if part == "mlp":
        return Passes(elementwise=29, products=30)
    return Passes(elementwise=11, products=30)


def kept_maps(part: Part) -> int:
    """Maps of C channels that one half keeps for its backward.

    pooling: its input. mlp, with epilogues or not: its input, and the hidden layer before and
    after the activation, 1 + 4 + 4. PyTorch's own functions keep 3 and 11.
    """
    return 1 if part == "pooling" else 9
