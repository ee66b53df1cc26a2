"""The device a rank computes on, checked where the job runs."""

import ctypes
import os

import torch

from pipeline.config import Config
from pipeline.errors import PreflightError
from pipeline.world import World

CUBLAS_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
_CUBLAS_WORKSPACES = (":4096:8", ":16:8")
"""With these cuBLAS gives the same bits every time, by its documentation; the faster first."""

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def open_device(config: Config, world: World) -> torch.device:
    """The rank's device, and how it computes: threads on CPU, engine.deterministic on a GPU.

    To be called before anything is computed. Raises PreflightError where a GPU is asked for and
    this rank has none, or the environment hinders it.
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
    _set_arithmetic(config.engine.deterministic)
    return torch.device("cuda", index)


def cublas_workspace(found: str | None) -> str:
    """What CUBLAS_WORKSPACE_CONFIG must be for the same bits every time; ``found`` if that will do.

    Raises PreflightError where it will not: PyTorch would stop at the first product.
    """
    if found is None:
        return _CUBLAS_WORKSPACES[0]
    if found not in _CUBLAS_WORKSPACES:
        raise PreflightError(
            f"{CUBLAS_VARIABLE}={found}, but engine.deterministic=true needs one of "
            f"{', '.join(_CUBLAS_WORKSPACES)}; unset it, or set engine.deterministic=false"
        )
    return found


def _set_arithmetic(deterministic: bool) -> None:
    """On a GPU: the same bits every time, or whatever is fastest; fp32 is never TF32.

    All that this project computes has a deterministic algorithm in PyTorch, attention included;
    what has none raises RuntimeError at the first step (such as adaptive pooling to more than one
    position, in some of timm's models). torch.compile then decides nothing by timing either.
    """
    if deterministic:
        # Read when the first cuBLAS handle is made.
        os.environ[CUBLAS_VARIABLE] = cublas_workspace(os.environ.get(CUBLAS_VARIABLE))
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    # It would write each new tensor once more, and nothing reads what nobody wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    # Convolutions would round fp32 to 10 bits (TF32) by default.
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


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
