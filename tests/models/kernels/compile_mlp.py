"""Compile all that the MLP half launches in M48 and S12 at 224 px, and say as JSON what came out.

python -m tests.models.kernels.compile_mlp: without a GPU and without TRITON_INTERPRET.
"""

import json
import re
from functools import partial

import torch

from pipeline.models.kernels.folding import Weights
from pipeline.models.kernels.mlp_half import Products, mlp_half
from pipeline.models.kernels.statistics import Statistics
from tests.models.kernels.compiled import Call, compiled, recorded

BATCH = 128
STAGES = {
    "poolformer_m48": ((96, 56), (192, 28), (384, 14), (768, 7)),
    "poolformer_s12": ((64, 56), (128, 28), (320, 14), (512, 7)),
}
"""Channels, and height as well as width."""
WAYS: tuple[Products, ...] = ("library", "triton")


def train(channels: int, side: int, products: Products) -> None:
    """Forward and backward of one half on the meta device."""
    hidden = 4 * channels
    empty = partial(torch.empty, device="meta", dtype=torch.bfloat16, requires_grad=True)
    weights = Weights(
        empty(channels),
        empty(channels),
        empty(hidden, channels, 1, 1),
        empty(hidden),
        empty(channels, hidden, 1, 1),
        empty(channels),
        empty(channels),
    )
    x = empty(BATCH, side, side, channels).permute(0, 3, 1, 2)
    statistics = Statistics(*torch.empty(2, BATCH, device="meta"))
    scales = torch.empty(BATCH, device="meta")
    y, _ = mlp_half(x, statistics, *weights, scales, "gelu", 1e-5, products)
    y.backward(torch.empty_like(y))


def maps_passed(calls: list[Call], channels: int, side: int) -> int:
    """Readings and writings of maps by kernels, in maps of ``channels``.

    Each kernel reads or writes each of its arguments once, but for the one that it changes.
    """
    of_a_map = BATCH * side * side * channels
    sizes = (elements // of_a_map for call in calls for elements in call.elements)
    changed = sum(4 for call in calls if call.launch.name == "_activation_gradient_kernel")
    return sum(sizes) + changed


def main() -> None:
    launches = {}
    for model, stages in STAGES.items():
        for channels, side in stages:
            for products in WAYS:
                calls = recorded(partial(train, channels, side, products))
                launches.update(dict.fromkeys(call.launch for call in calls))
                _say(
                    model=model,
                    channels=channels,
                    products=products,
                    launches=len(calls),
                    maps=maps_passed(calls, channels, side),
                )
    for launch in launches:
        for capability in (80, 90):
            binary = compiled(launch, capability)
            _say(
                kernel=launch.name,
                constants=dict(launch.constants),
                capability=capability,
                registers=binary.registers,
                stack_bytes=binary.stack_bytes,
                shared_bytes=binary.shared_bytes,
                wgmma=binary.ptx.count("wgmma.mma_async"),
                mma=binary.ptx.count("mma.sync"),
                copies_of_16_bytes=len(re.findall(r"cp\.async\.cg[^\n]*, 0x10", binary.ptx)),
                other_copies=len(re.findall(r"cp\.async\.ca", binary.ptx)),
                stores_of_16_bytes=binary.ptx.count("st.global.v4.b32"),
            )


def _say(**figures: object) -> None:
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
