"""What the device can do at most: matrix products, and copies."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

_ROUNDS = 15


def ceilings(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> dict[str, Any]:
    """Measured FLOP/s of a bf16 product of random matrices, and bytes per second of a copy.

    A multiply-add is two operations; a copied byte is read once and written once.
    """
    is_gpu = device.type == "cuda"
    side = 8192 if is_gpu else 256
    # Several times as much as a GPU's cache holds.
    numbers = 2**30 if is_gpu else 2**20
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product_s = _median_s(lambda: torch.mm(left, right), device)
    source = torch.randn(numbers, device=device, dtype=dtype)
    target = torch.empty_like(source)
    copy_s = _median_s(lambda: target.copy_(source), device)
    return {
        "flops": 2 * side**3 / product_s,
        "bytes_per_second": 2 * source.nbytes / copy_s,
        "method": f"{side}-cubed bf16 torch.mm on random data; copy of {source.nbytes / 1e9:.2f} "
        f"GB, read and written; medians of {_ROUNDS}",
    }


def _median_s(action: Callable[[], object], device: torch.device) -> float:
    for _ in range(3):
        action()
    return statistics.median(_seconds_of(action, device) for _ in range(_ROUNDS))


def _seconds_of(action: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        began = time.perf_counter()
        action()
        return time.perf_counter() - began
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    action()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000
