"""Counts the bytes that a rank hands to collectives, by wrapping torch.distributed."""

import contextlib
import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch.distributed as dist

# Which argument holds what is moved, and how often it goes round where N ranks form a ring:
# each rank sends (N - 1) / N of it that many times.
_COLLECTIVES = {
    "all_reduce": ("tensor", 2),
    "reduce": ("tensor", 1),
    "broadcast": ("tensor", 1),
    "all_gather": ("tensor_list", 1),
    "all_gather_into_tensor": ("output_tensor", 1),
    "reduce_scatter": ("input_list", 1),
    "reduce_scatter_tensor": ("input", 1),
    "all_to_all_single": ("input", 1),
}
_OTHERS = (
    "all_gather_coalesced",
    "all_gather_single",
    "all_reduce_coalesced",
    "all_to_all",
    "isend",
    "reduce_scatter_single",
    "scatter",
    "send",
)


class Traffic:
    """Counts while it is asked to; ``install`` it before DeepSpeed, which keeps some functions."""

    def __init__(self, world: int):
        self._world = world
        self.payload: Counter[str] = Counter()
        """Bytes handed over, by ``all_reduce float32`` and the like."""
        self.ring_bytes = 0.0
        """Bytes that this rank would send if each collective ran in a ring."""
        self._counts = False

    def install(self) -> None:
        """Wrap torch.distributed for the rest of the process."""
        for name, (argument, rounds) in _COLLECTIVES.items():
            wrapped = self._counted(name, getattr(dist, name), argument, rounds)
            setattr(dist, name, wrapped)
            setattr(dist.distributed_c10d, name, wrapped)
        for name in _OTHERS:
            setattr(dist, name, self._refused(name, getattr(dist, name)))

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Within, what is moved counts; it starts at nothing."""
        self.payload.clear()
        self.ring_bytes = 0.0
        self._counts = True
        try:
            yield
        finally:
            self._counts = False

    def _counted(
        self, name: str, function: Callable[..., Any], argument: str, rounds: int
    ) -> Callable[..., Any]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not self._counts:
                return function(*args, **kwargs)
            moved = signature.bind(*args, **kwargs).arguments[argument]
            tensors = moved if isinstance(moved, list) else [moved]
            size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            dtype = str(tensors[0].dtype).removeprefix("torch.")
            self.payload[f"{name} {dtype}"] += size
            self.ring_bytes += size * rounds * (self._world - 1) / self._world
            self._counts = False  # one collective may be made of others
            try:
                return function(*args, **kwargs)
            finally:
                self._counts = True

        return wrapped

    def _refused(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            assert not self._counts, f"torch.distributed.{name} is used, and not counted here"
            return function(*args, **kwargs)

        return wrapped
