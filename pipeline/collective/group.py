"""The process group of a job: what all its ranks do together, on CPU tensors (gloo)."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.watchdog.beat import PAGE_BYTES, Beat
from pipeline.watchdog.board import Board, stuck_folder
from pipeline.watchdog.watcher import Watcher
from pipeline.world import World

T = TypeVar("T")
_AFTER_THE_WATCHERS_S = 120
"""What a rank that nobody ends waits for the others beyond engine.collective_timeout_s."""


class Collective:
    """The process group of a job. A failure on one rank is a failure on all."""

    def __init__(self, world: World, watcher: Watcher | None = None):
        self.world, self._watcher = world, watcher
        self._beat = Beat(bytearray(PAGE_BYTES)) if watcher is None else watcher.beat

    def waiting(self, what: str, step: int | None = None) -> AbstractContextManager[None]:
        """Within, this rank may be waiting for the others: it is said of it where it is stuck.

        To be entered by all ranks alike. step: the optimizer step that begins, from 1.
        """
        return self._beat.waiting(what, step)

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag: true on every rank if it is true on any."""
        counts = torch.tensor(flags, dtype=torch.int64)
        with self.waiting("agreement"):
            dist.all_reduce(counts)
        return tuple(bool(count) for count in counts)

    def total(self, values: Tensor) -> Tensor:
        """Sum over the ranks, in place and returned. values: any shape, on the CPU."""
        with self.waiting("sum over the ranks"):
            dist.all_reduce(values)
        return values

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order, on every rank; small ones that pickle."""
        values: list[T] = [value] * self.world.size
        with self.waiting("gathering from all ranks"):
            dist.all_gather_object(values, value)
        return values

    def on_main(self, action: Callable[[], T]) -> T:
        """Run ``action`` on the main rank; its result, or its error, reaches every rank."""
        outcome: list[tuple[T | None, Exception | None]] = [(None, None)]
        if self.world.is_main:
            outcome = [(self._outcome(action))]
        with self.waiting("news from rank 0"):
            dist.broadcast_object_list(outcome, src=0)
        result, error = outcome[0]
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def all_or_error(self, action: Callable[[], T]) -> T:
        """Run ``action`` on every rank; the first rank's error is raised on all of them."""
        result, error = self._outcome(action)
        for raised in self.gather(error):
            if raised is not None:
                raise raised
        return result  # type: ignore[return-value]

    def close(self) -> None:
        """Leave the group, all ranks together.

        The first that exits with a code other than 0 has Slurm end the others, of which the main
        one may still be telling MLflow.
        """
        if dist.is_initialized():
            self.agree(True)
            dist.destroy_process_group()
        if self._watcher is not None:
            self._watcher.close()

    @staticmethod
    def _outcome(action: Callable[[], T]) -> tuple[T | None, Exception | None]:
        try:
            return action(), None
        except PipelineError as error:
            return None, error
        except Exception as error:  # noqa: BLE001 (a failure on one rank is one on all)
            # Only its text is sure to pass through pickle.
            return None, RuntimeError(f"{type(error).__name__}: {error}")


def connect(
    world: World, device: Literal["cpu", "cuda"], timeout_s: int, logs: Path | None = None
) -> Collective:
    """Join the other ranks at MASTER_ADDR:MASTER_PORT; alone, no port is opened.

    Where ranks have waited for almost ``timeout_s``, the watchers leave under ``logs`` who kept
    them waiting, and kill all; without ``logs`` nobody watches, and waiting ends with an error.
    """
    if logs is None or world.size == 1:
        return _joined(world, device, timedelta(seconds=timeout_s), None)
    folder = stuck_folder(logs, world.job_id, world.attempt)
    if world.is_main:
        Board(folder).clear()
    watcher = Watcher(world, timeout_s, folder)
    with watcher.beat.waiting("start of all ranks"):
        timeout = timedelta(seconds=timeout_s + _AFTER_THE_WATCHERS_S)
        collective = _joined(world, device, timeout, watcher)
    watcher.tell_nodes(collective.gather(world.node_name))
    return collective


def _joined(
    world: World, device: Literal["cpu", "cuda"], timeout: timedelta, watcher: Watcher | None
) -> Collective:
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
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
    return Collective(world, watcher)
