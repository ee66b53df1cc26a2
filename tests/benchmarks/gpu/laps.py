"""Timing training steps, and what they ask of the device; runs in the process that trains."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

import torch

_SHOWN_KERNELS = 12


class Contestant(Protocol):
    """A training that can make one step after the other."""

    batch: int
    """Images of a step."""
    device: torch.device
    warm_up_steps: int
    """Before each lap: the allocator gave its memory back after the last one."""
    waited_s: float
    """So far, for data."""

    def step(self) -> None:
        """One optimizer step; it may still be running on the device."""
        ...

    def check(self) -> None:
        """Raise ValueError unless the last step was a valid one."""
        ...


def first_step(contestant: Contestant) -> dict[str, Any]:
    """Seconds of the first step, in which kernels are compiled, and of the second one."""
    seconds = [_seconds_of(contestant) for _ in range(2)]
    contestant.check()
    _give_back(contestant.device)
    return {"first_step_s": round(seconds[0], 3), "second_step_s": round(seconds[1], 4)}


def lap(contestant: Contestant, seconds: float) -> dict[str, float]:
    """Make steps for about ``seconds``; images per second, and bytes at the peak and at rest."""
    for _ in range(contestant.warm_up_steps):
        contestant.step()
    _wait(contestant.device)
    is_gpu = contestant.device.type == "cuda"
    if is_gpu:
        torch.cuda.reset_peak_memory_stats()
    resting = torch.cuda.memory_allocated() if is_gpu else 0
    waited_s = contestant.waited_s
    steps, began = 0, time.perf_counter()
    while steps == 0 or time.perf_counter() - began < seconds:
        contestant.step()
        steps += 1
    _wait(contestant.device)
    elapsed = time.perf_counter() - began
    contestant.check()
    found = {
        "images_per_second": steps * contestant.batch / elapsed,
        "steps": steps,
        "milliseconds_per_step": 1000 * elapsed / steps,
        "data_wait_pct": 100 * (contestant.waited_s - waited_s) / elapsed,
    }
    if is_gpu:
        found["peak_bytes"] = torch.cuda.max_memory_allocated()
        found["resting_bytes"] = resting
    _give_back(contestant.device)
    return found


def profile(contestant: Contestant, steps: int) -> dict[str, Any]:
    """Where a step's time goes on the device: kernels by time, their sum and their number.

    All is per step; the sum is of kernels that may overlap. On a CPU there are none.
    """
    for _ in range(contestant.warm_up_steps):
        contestant.step()
    _wait(contestant.device)
    on_gpu = contestant.device.type == "cuda"
    kind = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[kind]) as record:
        for _ in range(steps):
            contestant.step()
        _wait(contestant.device)
    _give_back(contestant.device)
    return by_kernel(record.events() or (), steps)


def by_kernel(events: Iterable[Any], steps: int) -> dict[str, Any]:
    """Kernels and copies among a profile's events, added up by name, per step."""
    spent_us: Counter[str] = Counter()
    launches: Counter[str] = Counter()
    for event in events:
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation:
            spent_us[event.name] += event.time_range.elapsed_us()
            launches[event.name] += 1
    return {
        "kernel_milliseconds": round(spent_us.total() / 1000 / steps, 3),
        "kernels": launches.total() // steps,
        "longest": [
            {
                "kernel": name[:120],
                "milliseconds": round(us / 1000 / steps, 3),
                "launches": launches[name] // steps,
            }
            for name, us in spent_us.most_common(_SHOWN_KERNELS)
        ],
    }


def _seconds_of(contestant: Contestant) -> float:
    _wait(contestant.device)
    began = time.perf_counter()
    contestant.step()
    _wait(contestant.device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _give_back(device: torch.device) -> None:
    """Leave the device's memory to the other processes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
