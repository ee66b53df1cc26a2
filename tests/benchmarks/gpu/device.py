"""What is known of the machine's GPU without asking torch."""

from typing import Any

import pynvml

PACKAGES = ("torch", "triton", "deepspeed", "timm", "nvidia-dali-cuda130")
"""Whose versions belong to every figure of a GPU."""


def gpu_facts() -> dict[str, Any]:
    """Name, driver, the driver's CUDA and memory of the first GPU; empty where there is none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        memory: Any = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            "gpu": pynvml.nvmlDeviceGetName(handle),
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",
            "memory_gb": round(memory.total / 1e9, 1),
        }
    finally:
        pynvml.nvmlShutdown()
