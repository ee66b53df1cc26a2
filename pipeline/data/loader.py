"""Joins order, augmentation, DALI and mixing to the micro-batches of this rank."""

import gc
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.collective import Collective
from pipeline.config import Config
from pipeline.data.ahead import ahead
from pipeline.data.augment.drop_path import drop_path_scales, torch_seed
from pipeline.data.augment.erasing import draw_erasures
from pipeline.data.augment.mixing import draw_mix
from pipeline.data.augment.transforms import operation_layers, train_transforms
from pipeline.data.bad_samples import check_bad_samples
from pipeline.data.batches import EvalBatch, MicroBatch, Step
from pipeline.data.evaluation import eval_batches
from pipeline.data.images import Images
from pipeline.data.mix import DTYPES, HostErasures, Normaliser, mixed_targets, to_host
from pipeline.data.order import make_order
from pipeline.plan import Plan
from pipeline.shards import ShardSplit

T = TypeVar("T")

_PREPARED_BATCHES = 2
_NICENESS = 10


@dataclass(frozen=True)
class Place:
    """Which micro-batch it is."""

    step: int
    epoch: int
    index: int
    """Number within the step."""
    ids: NDArray[np.int64]
    """(B,) sample ids."""


@dataclass(frozen=True)
class Prepared:
    """A micro-batch but for what the device does."""

    place: Place
    """Its ids are those of the images shown, substitutes included."""
    pixels: Tensor
    """(B, img_size, img_size, 3) uint8 on the device."""
    labels: Tensor
    """(B,) int64 on the host."""
    erased: HostErasures
    drop_path: Tensor | None
    """(B, branches) fp32 on the host."""


class Loader:
    """Micro-batches of one rank. ``drop_path_rates`` are those of the model's branches."""

    def __init__(
        self,
        config: Config,
        plan: Plan,
        rank: int,
        device: torch.device,
        train: ShardSplit,
        val: ShardSplit,
        drop_path_rates: NDArray[np.float64],
    ):
        self.config, self.plan, self.rank, self.device = config, plan, rank, device
        self.train, self.val = train, val
        self._rates = drop_path_rates
        self._train_images, self._val_images = (
            Images(config, split, device) for split in (train, val)
        )
        self._normalised = Normaliser(config.augment, device, DTYPES[config.engine.dtype])
        self._told: dict[str, str] = {}

    def steps(self, start: int) -> Iterator[Step]:
        """Steps ``start`` to the plan's last; they are prepared ahead, across epochs."""
        mine = len(self.plan.micro_batches_of(self.rank))
        # On CPUs the threads that compute wait for one another: none of them may be held up.
        niceness = _NICENESS if self.device.type == "cpu" else 0
        prepared_ones = self._on_device(self._prepared(start))
        batches = ahead(prepared_ones, _PREPARED_BATCHES, "loader", niceness)
        for number in range(start, self.plan.total_steps):
            slots: list[MicroBatch] = []
            wait_s = 0.0
            for _ in range(mine):
                began = time.perf_counter()
                prepared = next(batches)
                wait_s += time.perf_counter() - began
                assert prepared.place.step == number
                slots.append(self._micro_batch(prepared))
            empty = [replace(slots[0], is_empty=True)] * (self.plan.slots - mine)
            yield Step(number, slots + empty, wait_s)

    def file_batches(self, start: int) -> Iterator[Sequence[NDArray[np.uint8]]]:
        """The files of each micro-batch from step ``start`` on."""
        return self._train_images.read(place.ids for place in self._places(start))

    def pixel_batches(
        self, start: int, *, operations: bool = True, decode_only: bool = False
    ) -> Iterator[tuple[Place, Tensor]]:
        """The images of each micro-batch from step ``start`` on, before they are mixed.

        Each is (B, img_size, img_size, 3) uint8 on the device; the place's ids are those of the
        images, substitutes included. For timing, operations and all but decoding can be left out.
        """
        # What imports left behind stays to the end: Python need not search it every few batches.
        gc.collect()
        gc.freeze()
        augment, seed = self.config.augment, self.config.seed
        transforms = (
            train_transforms(augment, seed, place.epoch, place.ids, self.train.sizes(place.ids))
            for place in self._places(start)
        )
        decoded = self._train_images.decoded(
            lambda: (place.ids for place in self._places(start)),
            transforms,
            self.plan.micro_batch,
            layers=operation_layers(augment) if operations else 0,
            decode_only=decode_only,
        )
        for place in self._places(start):
            batch = next(decoded)
            ids = place.ids[batch.sources]
            yield Place(place.step, place.epoch, place.index, ids), batch.pixels

    def evaluation(self) -> Iterator[EvalBatch]:
        """This rank's part of the validation split; over the ranks every id comes once."""
        mine = self.plan.eval_batches_of(self.rank)
        yield from eval_batches(self.config, self._val_images, self._normalised, self.device, mine)
        nothing = np.zeros(0, np.int64)
        for _ in range(-(-self.plan.eval_batches // self.plan.world_size) - len(mine)):
            labels = self._labels(self.val, nothing).to(self.device)
            yield EvalBatch(0, nothing, self.blank_images(), labels, is_padding=True)

    def blank_images(self) -> Tensor:
        """(1, 3, img_size, img_size) zeros, for forward passes whose result nobody reads."""
        side = self.config.augment.img_size
        dtype = DTYPES[self.config.engine.dtype]
        return torch.zeros(1, 3, side, side, device=self.device, dtype=dtype)

    def bad_samples(self, collective: Collective) -> dict[str, str]:
        """What all ranks found undecodable, as tags for the journal; empty if there is no news.

        All ranks must call it. Raises DataError, on all of them, where it is too much.
        """
        tags: dict[str, str] = {}
        for images in (self._train_images, self._val_images):
            bad = images.bad
            own = {bad.describe(sample): reason for sample, reason in bad.reasons.items()}
            found = {name: text for part in collective.gather(own) for name, text in part.items()}
            check_bad_samples(len(found), self.config.data.max_bad_samples, images.split)
            if found:
                tags[f"bad_samples/{images.split.split}"] = f"{len(found)}: " + "; ".join(
                    f"{name}: {reason}" for name, reason in sorted(found.items())
                )
        news = {} if tags == self._told else tags
        self._told = tags
        return news

    def _places(self, start: int) -> Iterator[Place]:
        order = make_order(self.config, self.train.shard_lengths)
        for step in range(start, self.plan.total_steps):
            epoch, in_epoch = divmod(step, self.plan.steps_per_epoch)
            for index in self.plan.micro_batches_of(self.rank):
                yield Place(step, epoch, index, order.micro_batch_ids(epoch, in_epoch, index))

    def _on_device(self, items: Iterator[T]) -> Generator[T, None, None]:
        """The same, made on the device by whichever thread asks: each has one of its own."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        yield from items

    def _prepared(self, start: int) -> Iterator[Prepared]:
        augment, seed = self.config.augment, self.config.seed
        # Drawing what erases costs a host more than feeding DALI: each has a thread.
        for place, pixels in ahead(self._on_device(self.pixel_batches(start)), 1, "decoder"):
            erasures = draw_erasures(augment, seed, place.epoch, place.ids)
            scales = None
            if len(self._rates):
                drawn = drop_path_scales(self._rates, seed, place.step, place.index, len(place.ids))
                scales = to_host(drawn, self.device)
            yield Prepared(
                place=place,
                pixels=pixels,
                labels=self._labels(self.train, place.ids),
                erased=HostErasures.ready(erasures, self.device),
                drop_path=scales,
            )

    def _micro_batch(self, prepared: Prepared) -> MicroBatch:
        place, config = prepared.place, self.config
        mix = draw_mix(config.augment, config.seed, place.step, place.index)
        targets = prepared.labels.to(self.device, non_blocking=True)
        if mix is not None:
            targets = mixed_targets(targets, mix, config.model.num_classes)
        scales = prepared.drop_path
        if scales is not None:
            scales = scales.to(self.device, DTYPES[config.engine.dtype], non_blocking=True)
        return MicroBatch(
            index=place.index,
            images=self._normalised(prepared.pixels, mix, prepared.erased),
            targets=targets,
            drop_path=scales,
            torch_seed=torch_seed(config.seed, place.step, place.index),
            ids=tuple(place.ids.tolist()),
        )

    def _labels(self, split: ShardSplit, ids: NDArray[np.int64]) -> Tensor:
        return to_host(split.labels(ids), self.device)
