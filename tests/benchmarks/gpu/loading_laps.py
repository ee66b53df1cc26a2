"""Stopwatch and scales: images per second of a stream of batches, and what memory it keeps."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pynvml
import torch
from scipy.stats import linregress

_SETTLING = 0.25
"""Share of the samples before the line is drawn: until then buffers meet their largest batch."""
_FEWEST = 8


def lap(
    batches: Iterator[int], device: str, warm_up_s: float, window_s: float, windows: int
) -> dict[str, Any]:
    """Images per second of each window, the CPU time of this process, and the JPEG hardware's use.

    The warm-up ends with the batch after ``warm_up_s`` that follows the first eight; a window
    ends when the device has all that was queued. The stream is closed.
    """
    began = time.perf_counter()
    for number, _ in enumerate(batches):
        if number >= _FEWEST and time.perf_counter() - began >= warm_up_s:
            break
    rates: list[float] = []
    hardware: list[int] = []
    images, cpu_began = 0, time.process_time()
    for _ in range(windows):
        count, seconds = _window(batches, device, window_s)
        rates.append(count / seconds)
        images += count
        with suppress(pynvml.NVMLError):
            hardware.append(jpeg_hardware_percent())
    cpu_s = time.process_time() - cpu_began
    _close(batches)
    return {
        "images_per_second": {
            "median": round(statistics.median(rates)),
            "all": [round(rate) for rate in rates],
        },
        "cpu_milliseconds_per_image": round(1000 * cpu_s / images, 3),
        "cpus_busy": round(cpu_s / images * statistics.mean(rates), 2),
        "jpeg_hardware_percent": hardware or None,
    }


def growth(batches: Iterator[int], device: str, seconds: float, every_s: float) -> dict[str, Any]:
    """How host and device memory grow while the stream is emptied. The stream is closed."""
    samples: list[tuple[float, float, float]] = []
    next(batches)
    began, images = time.perf_counter(), 0
    for count in batches:
        images += count
        passed = time.perf_counter() - began
        if passed >= every_s * len(samples):
            samples.append((passed, _resident_mb(), _device_mb(device)))
        if passed >= seconds:
            break
    passed = time.perf_counter() - began
    _close(batches)
    return {
        "seconds": round(passed, 1),
        "images": images,
        "host": slope(samples, 1),
        "device": slope(samples, 2) if device == "cuda" else None,
    }


def slope(samples: list[tuple[float, float, float]], column: int) -> dict[str, float | None]:
    """MB at the first and the last sample, and the line through the settled ones, per minute.

    samples: seconds, and MB in the columns. The error is that of least squares.
    """
    times, values = (np.array([sample[i] for sample in samples]) for i in (0, column))
    settled = int(len(samples) * _SETTLING)
    per_minute, error = None, None
    if len(samples) - settled > 2:
        line: Any = linregress(times[settled:] / 60, values[settled:])
        per_minute, error = round(float(line.slope), 2), round(float(line.stderr), 2)
    return {
        "first_mb": round(float(values[0]), 1),
        "last_mb": round(float(values[-1]), 1),
        "most_mb": round(float(values.max()), 1),
        "mb_per_minute": per_minute,
        "standard_error": error,
    }


def jpeg_hardware_percent() -> int:
    """How busy the first GPU's JPEG decoders are. Raises NVMLError where that cannot be said."""
    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        return int(pynvml.nvmlDeviceGetJpgUtilization(handle)[0])
    finally:
        pynvml.nvmlShutdown()


def _window(batches: Iterator[int], device: str, seconds: float) -> tuple[int, float]:
    """Images, and the seconds that they took."""
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    count, began = 0, time.perf_counter()
    for images in batches:
        count += images
        if time.perf_counter() - began >= seconds:
            break
    wait()
    return count, time.perf_counter() - began


def _close(batches: Iterator[int]) -> None:
    close: Callable[[], None] = getattr(batches, "close", lambda: None)
    close()


def _resident_mb() -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def _device_mb(device: str) -> float:
    """Taken of the device, by whomever: DALI's memory is not torch's."""
    if device != "cuda":
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**20
