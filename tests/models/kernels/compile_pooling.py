"""Compile all that the pooling half launches in M48 and S12 at 224 px; JSON of what came out.

python -m tests.models.kernels.compile_pooling: without a GPU and without TRITON_INTERPRET.
"""

import json
import math
from functools import partial

import torch

from pipeline.config.schema.model import LARGEST_FUSED_POOL
from pipeline.models.kernels.pooling_half import pooling_half
from pipeline.models.kernels.statistics import statistics_of
from tests.models.kernels.compile_mlp import BATCH, STAGES
from tests.models.kernels.compiled import compiled, recorded


def train(channels: int, side: int, pool_size: int) -> None:
    """Statistics, forward and backward of one half on the meta device."""
    empty = partial(torch.empty, device="meta", dtype=torch.bfloat16, requires_grad=True)
    x = empty(BATCH, side, side, channels).permute(0, 3, 1, 2)
    scales = torch.empty(BATCH, device="meta")
    parameters = [empty(channels) for _ in range(3)]
    y, _ = pooling_half(x, statistics_of(x, 1e-5), *parameters, scales, pool_size, 1e-5)
    y.backward(torch.empty_like(y))


def main() -> None:
    launches = {}
    for model, stages in STAGES.items():
        for channels, side in stages:
            calls = recorded(partial(train, channels, side, 3))
            launches |= {call.launch: call.grid for call in calls}
            of_a_map = BATCH * side * side * channels
            maps = [sum(n // of_a_map for n in call.elements) for call in calls]
            programs = max(math.prod(call.grid) for call in calls)
            print(json.dumps({"model": model, "maps": maps, "programs": programs}))
    # The window that needs most registers.
    calls = recorded(partial(train, 96, 56, LARGEST_FUSED_POOL))
    launches |= {call.launch: call.grid for call in calls}
    for launch in launches:
        # Large windows take seconds to compile.
        is_small = dict(launch.constants).get("POOL", 0) <= 3
        for capability in (80, 90) if is_small else (90,):
            binary = compiled(launch, capability)
            figures = {
                "kernel": launch.name,
                "constants": dict(launch.constants),
                "capability": capability,
                "registers": binary.registers,
                "stack_bytes": binary.stack_bytes,
                "loads_of_16_bytes": binary.ptx.count("ld.global.v4.b32"),
                "stores_of_16_bytes": binary.ptx.count("st.global.v4.b32"),
            }
            print(json.dumps(figures))


if __name__ == "__main__":
    main()
