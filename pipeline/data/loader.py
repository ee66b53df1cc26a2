"""Joins order, augmentation and DALI to the micro-batches of this rank."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import Config
from pipeline.data.augment import (
    Transforms,
    drop_path_scales,
    eval_transforms,
    torch_seed,
    train_transforms,
)
from pipeline.data.dali import DecodeStream, Request
from pipeline.data.order import make_order
from pipeline.plan import Plan
from pipeline.shards import ShardSplit


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass takes; B images."""

    index: int
    """Number within the step; None of the ranks share one."""
    images: Tensor
    """(B, 3, img_size, img_size), normalised, dtype of the engine."""
    targets: Tensor
    """(B,) int64 labels."""
    drop_path: Tensor | None
    """(B, branches) scales for models that take them."""
    torch_seed: int
    """For layers that draw by themselves."""
    is_empty: bool = False
    """A slot without a micro-batch: its loss counts nothing."""


@dataclass(frozen=True)
class Step:
    """One optimizer step's share of this rank; every rank has equally many slots."""

    number: int
    slots: list[MicroBatch]
    wait_s: float
    """Seconds that the step waited for data."""


@dataclass(frozen=True)
class EvalBatch:
    """Images of an evaluation; the last batch of all may be smaller."""

    index: int
    ids: NDArray[np.int64]
    images: Tensor
    targets: Tensor
    is_padding: bool = False
    """Blank, so that all ranks make equally many forward passes; counts nothing."""


@dataclass(frozen=True)
class Loader:
    """Micro-batches of one rank. ``drop_path_rates`` are those of the model's branches."""

    config: Config
    plan: Plan
    rank: int
    device: torch.device
    train: ShardSplit
    val: ShardSplit
    drop_path_rates: NDArray[np.float64]

    def steps(self, start: int) -> Iterator[Step]:
        """Steps ``start`` to the plan's last; DALI reads ahead across epochs."""
        order = make_order(self.config, self.train.shard_lengths)
        mine = self.plan.micro_batches_of(self.rank)

        def places() -> Iterator[tuple[int, int, int, NDArray[np.int64]]]:
            for number in range(start, self.plan.total_steps):
                epoch, in_epoch = divmod(number, self.plan.steps_per_epoch)
                for index in mine:
                    yield number, epoch, index, order.micro_batch_ids(epoch, in_epoch, index)

        def requests() -> Iterator[Request]:
            for _, epoch, _, ids in places():
                yield self._request(
                    self.train,
                    ids,
                    train_transforms(
                        self.config.augment, self.config.seed, epoch, ids, self.train.sizes(ids)
                    ),
                )

        images = self._stream(requests(), self.plan.micro_batch)
        slots: list[MicroBatch] = []
        wait_s = 0.0
        for number, _, index, ids in places():
            began = time.perf_counter()
            pixels = next(images)
            wait_s += time.perf_counter() - began
            slots.append(self._micro_batch(number, index, ids, pixels))
            if len(slots) == len(mine):
                empty = [self._empty_slot(slots[0])] * (self.plan.slots - len(mine))
                yield Step(number, slots + empty, wait_s)
                slots, wait_s = [], 0.0

    def evaluation(self) -> Iterator[EvalBatch]:
        """This rank's part of the validation split; over the ranks every id comes once."""
        size = self.config.evaluate.batch_size
        mine = [
            (index, np.arange(index * size, min((index + 1) * size, len(self.val)), dtype=np.int64))
            for index in self.plan.eval_batches_of(self.rank)
        ]
        requests = (
            self._request(
                self.val,
                ids,
                eval_transforms(
                    self.config.evaluate, self.config.augment.img_size, self.val.sizes(ids)
                ),
            )
            for _, ids in mine
        )
        images = self._stream(requests, size)
        turns = -(-self.plan.eval_batches // self.plan.world_size)
        for index, ids in mine:
            pixels = self._normalised(next(images))
            yield EvalBatch(index, ids, pixels, self._targets(self.val, ids))
        nothing = np.zeros(0, np.int64)
        for _ in range(turns - len(mine)):
            targets = self._targets(self.val, nothing)
            yield EvalBatch(0, nothing, self.blank_images(), targets, is_padding=True)

    def blank_images(self) -> Tensor:
        """(1, 3, img_size, img_size) zeros, for forward passes whose result nobody reads."""
        side = self.config.augment.img_size
        return torch.zeros(1, 3, side, side, device=self.device, dtype=self._dtype)

    def _request(
        self, split: ShardSplit, ids: NDArray[np.int64], transforms: Transforms
    ) -> Request:
        return Request(
            jpegs=[split.read(int(sample)) for sample in ids],
            transforms=transforms,
            names=lambda position: " (original ".join(split.name(int(ids[position]))) + ")",
        )

    def _stream(self, requests: Iterator[Request], batch_size: int) -> Iterator[Tensor]:
        decode = self.config.data.decode
        if decode == "auto":
            decode = "gpu" if self.device.type == "cuda" else "cpu"
        return DecodeStream(
            requests,
            batch_size=batch_size,
            img_size=self.config.augment.img_size,
            device=self.device,
            decode=decode,
            threads=self.config.data.decode_threads,
            prefetch=self.config.data.prefetch_batches,
        )

    def _micro_batch(
        self, number: int, index: int, ids: NDArray[np.int64], pixels: Tensor
    ) -> MicroBatch:
        scales = None
        if len(self.drop_path_rates):
            scales = drop_path_scales(
                self.drop_path_rates, self.config.seed, number, index, len(ids)
            )
        return MicroBatch(
            index=index,
            images=self._normalised(pixels),
            targets=self._targets(self.train, ids),
            drop_path=None
            if scales is None
            else torch.from_numpy(scales).to(self.device, self._dtype),
            torch_seed=torch_seed(self.config.seed, number, index),
        )

    @staticmethod
    def _empty_slot(like: MicroBatch) -> MicroBatch:
        return MicroBatch(
            like.index, like.images, like.targets, like.drop_path, like.torch_seed, is_empty=True
        )

    def _targets(self, split: ShardSplit, ids: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(split.labels(ids)).to(self.device)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 to (B, 3, H, W) in the engine's dtype and channels_last memory."""
        mean = torch.tensor(self.config.augment.mean, device=pixels.device) * 255
        std = torch.tensor(self.config.augment.std, device=pixels.device) * 255
        return ((pixels - mean) / std).to(self._dtype).permute(0, 3, 1, 2)

    @property
    def _dtype(self) -> torch.dtype:
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[self.config.engine.dtype]
