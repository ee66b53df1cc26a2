"""The device a rank computes on, checked where the job runs."""

import ctypes
import os

import torch

from pipeline.config import Config
from pipeline.errors import PreflightError
from pipeline.world import World

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def open_device(config: Config, world: World) -> torch.device:
    """The rank's device, with the thread count of the config set on CPU.

    Raises PreflightError where a GPU is asked for and this rank has none.
    """
    if config.device == "cpu":
        # Batches come in memory that is new each time: pages of 2 MiB spare most of the faults.
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
        _keep_freed_memory()
        torch.set_num_threads(config.engine.cpu_threads)
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise PreflightError(
            f"device=cuda, but torch {torch.__version__} finds no GPU on {world.node_name}; check "
            "the driver (nvidia-smi) or set device=cpu"
        )
    present = torch.cuda.device_count()
    # A scheduler may show each task its own GPU only; then that one has number 0.
    index = world.local_rank if present > 1 else 0
    if index >= present or (present == 1 and world.local_size > 1 and _shares_gpu()):
        raise PreflightError(
            f"device=cuda: {world.local_size} ranks on {world.node_name} for {present} GPU(s); "
            "start one rank per GPU (--tasks-per-node)"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _keep_freed_memory() -> None:
    """Tell glibc to use large blocks again, not to return them to the system in every step.

    Else each flat buffer of gradients is new memory that the kernel has to clear. Where the C
    library is another one, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _shares_gpu() -> bool:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible is None or "," in visible
