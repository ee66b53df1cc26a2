"""How fast pairs of ranks exchange, each pair for itself: what finds a slow link or node."""

import os
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist

from pipeline.world import World

_HOPELESS_PAIRS = 3
"""Exchanges that a rank tries where all fail."""
_PAIR_REPEATS = 5


def pair_rates(
    world: World,
    partners: Sequence[int | None],
    device: Literal["cpu", "cuda"],
    num_bytes: int,
    timeout_s: float,
) -> dict[int, float | str]:
    """MB/s of all-reduces with one other rank after the other, or why there was none with it.

    partners: by round, None to sit out; all ranks call this once, and meet at
    MASTER_ADDR:MASTER_PORT. Every pair is a process group of its own, so that a rank that fails
    hinders nobody else. Raises RuntimeError where the first rank is not to be reached.
    """
    timeout = timedelta(seconds=timeout_s)
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(host, port, None, world.is_main, 3 * timeout, wait_for_workers=False)
    # Who does not come must be known before anybody waits for it.
    store.set(f"here/{world.rank}", "")
    _await_keys(store, [f"here/{rank}" for rank in range(world.size)], 3 * timeout_s)
    rates: dict[int, float | str] = {}
    for number, partner in enumerate(partners):
        if partner is None:
            continue
        pair = f"{number}/{min(world.rank, partner)}"
        try:
            _await_partner(store, pair, world.rank, partner, timeout_s)
            rates[partner] = _pair_rate(
                dist.PrefixStore(pair, store), int(world.rank > partner), device, num_bytes, timeout
            )
        except (RuntimeError, ValueError, OSError) as error:
            rates[partner] = str(error).strip().split("\n")[0] or type(error).__name__
        failed = [rate for rate in rates.values() if isinstance(rate, str)]
        if len(failed) == len(rates) >= _HOPELESS_PAIRS:
            break
    store.set(f"left/{world.rank}", "")
    if world.is_main:
        # The store ends with this process.
        here = [rank for rank in range(world.size) if store.check([f"here/{rank}"])]
        _await_keys(store, [f"left/{rank}" for rank in here], 3 * timeout_s)
    return rates


def _await_keys(store: dist.Store, keys: list[str], wait_s: float) -> None:
    deadline_s = time.monotonic() + wait_s
    while not store.check(keys) and time.monotonic() < deadline_s:
        time.sleep(0.02)


def _await_partner(store: dist.Store, pair: str, rank: int, partner: int, wait_s: float) -> None:
    store.set(f"{pair}/{rank}", "")
    # It may have to wait for others first, once or twice.
    deadline_s = time.monotonic() + 3 * wait_s
    while not store.check([f"{pair}/{partner}"]):
        if not store.check([f"here/{partner}"]) or store.check([f"left/{partner}"]):
            raise RuntimeError("it does not take part")
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"it did not come within {3 * wait_s:g} s")
        time.sleep(0.02)


def _pair_rate(
    store: dist.Store, rank: int, device: str, num_bytes: int, timeout: timedelta
) -> float:
    # An error to catch, not the end of the process.
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=2, timeout=timeout)
    try:
        values = torch.ones(num_bytes // 4, device=device)
        dist.all_reduce(torch.zeros(1))  # gloo, which every training needs
        dist.all_reduce(values)  # connections are made at the first call
        began_s = time.perf_counter()
        for _ in range(_PAIR_REPEATS):
            dist.all_reduce(values)
        float(values[0])  # waits for the device
        return _PAIR_REPEATS * num_bytes / 1e6 / (time.perf_counter() - began_s)
    finally:
        dist.destroy_process_group()
