"""What ranks do together; only user of torch.distributed. All of it runs on CPU tensors (gloo)."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.world import World

T = TypeVar("T")


class Collective:
    """The process group of a job. A failure on one rank is a failure on all."""

    def __init__(self, world: World):
        self.world = world

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag: true on every rank if it is true on any."""
        return tuple(bool(count) for count in self.total(torch.tensor(flags, dtype=torch.int64)))

    def total(self, values: Tensor) -> Tensor:
        """Sum over the ranks, in place and returned. values: any shape, on the CPU."""
        dist.all_reduce(values)
        return values

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order, on every rank; small ones that pickle."""
        values: list[T] = [value] * self.world.size
        dist.all_gather_object(values, value)
        return values

    def on_main(self, action: Callable[[], T]) -> T:
        """Run ``action`` on the main rank; its result, or its error, reaches every rank."""
        outcome: list[tuple[T | None, Exception | None]] = [(None, None)]
        if self.world.is_main:
            outcome = [(self._outcome(action))]
        dist.broadcast_object_list(outcome, src=0)
        result, error = outcome[0]
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def all_or_error(self, action: Callable[[], T]) -> T:
        """Run ``action`` on every rank; the first rank's error is raised on all of them."""
        result, error = self._outcome(action)
        errors: list[Exception | None] = [None] * self.world.size
        dist.all_gather_object(errors, error)
        for raised in errors:
            if raised is not None:
                raise raised
        return result  # type: ignore[return-value]

    def close(self) -> None:
        """Leave the group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    @staticmethod
    def _outcome(action: Callable[[], T]) -> tuple[T | None, Exception | None]:
        try:
            return action(), None
        except PipelineError as error:
            return None, error
        except Exception as error:  # noqa: BLE001 (a failure on one rank is one on all)
            # Only its text is sure to pass through pickle.
            return None, RuntimeError(f"{type(error).__name__}: {error}")


def connect(world: World, device: Literal["cpu", "cuda"], timeout_s: int) -> Collective:
    """Join the other ranks at MASTER_ADDR:MASTER_PORT; alone, no port is opened.

    A rank that waits longer than ``timeout_s`` for the others ends with an error.
    """
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    timeout = timedelta(seconds=timeout_s)
    os.environ["LOCAL_RANK"] = str(world.local_rank)  # DeepSpeed insists on it
    if world.size == 1:
        dist.init_process_group(
            backend, store=dist.HashStore(), rank=0, world_size=1, timeout=timeout
        )
    else:
        # One machine needs no name lookup, which can be slow or wrong on laptops.
        if world.nodes == 1:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(backend, rank=world.rank, world_size=world.size, timeout=timeout)
    return Collective(world)
