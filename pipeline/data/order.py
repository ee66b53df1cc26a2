"""Which samples a micro-batch holds: pure functions of (seed, epoch, dataset), of no world."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config


@dataclass(frozen=True)
class Order:
    """The sequence of sample ids of every epoch. ``window`` is in shards; None is global."""

    seed: int
    shard_lengths: tuple[int, ...]
    global_batch: int
    micro_batch: int
    window: int | None = None

    def micro_batch_ids(self, epoch: int, step_in_epoch: int, index: int) -> NDArray[np.int64]:
        """(micro_batch,) sample ids of the micro-batch ``index`` of a step."""
        start = step_in_epoch * self.global_batch + index * self.micro_batch
        return epoch_order(self, epoch)[start : start + self.micro_batch].astype(np.int64)


def make_order(config: Config, shard_lengths: Sequence[int]) -> Order:
    """The order of a config over shards of these lengths (samples)."""
    return Order(
        seed=config.seed,
        shard_lengths=tuple(shard_lengths),
        global_batch=config.train.global_batch,
        micro_batch=config.train.micro_batch,
        window=config.data.window_shards if config.data.order == "windowed" else None,
    )


@lru_cache(maxsize=2)
def epoch_order(order: Order, epoch: int) -> NDArray[np.uint32 | np.int64]:
    """(samples,) every sample id once; the incomplete last global batch is not cut off here.

    Windowed: shards are permuted, then samples inside each window of consecutive ones, so
    that a stretch of the epoch reads from ``window`` shards only.
    """
    rng = np.random.Generator(np.random.Philox(key=[order.seed, epoch]))
    starts: list[int] = [0, *accumulate(order.shard_lengths)]
    # Every rank keeps two epochs. numpy's shuffle draws the same for every type.
    dtype = np.uint32 if starts[-1] <= 2**32 else np.int64
    if order.window is None:
        ids = np.arange(starts[-1], dtype=dtype)
        rng.shuffle(ids)
    else:
        shards: list[int] = rng.permutation(len(order.shard_lengths)).tolist()
        windows = (shards[i : i + order.window] for i in range(0, len(shards), order.window))
        ids = np.concatenate(
            [
                rng.permutation(
                    np.concatenate(
                        [np.arange(starts[s], starts[s + 1], dtype=dtype) for s in window]
                    )
                )
                for window in windows
            ]
        )
    ids.setflags(write=False)
    return ids
