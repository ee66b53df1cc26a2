"""timm's dataset and loader, with the arguments that its train.py gives them."""

from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

import torch
from timm.data import FastCollateMixup, create_dataset, create_loader
from torch import Tensor

from tests.benchmarks.loader.material import BATCH, SIDE, WORKERS, Material


def crop_flip(material: Material) -> Iterator[Tensor]:
    """(B, 3, 224, 224) float32, normalised."""
    return _batches(material, interpolation="bilinear", color_jitter=None)


def full_recipe(material: Material) -> Iterator[Tensor]:
    """(B, 3, 224, 224) float32, normalised, mixed and erased."""
    mix = FastCollateMixup(
        mixup_alpha=0.8,
        cutmix_alpha=1.0,
        prob=1.0,
        switch_prob=0.5,
        mode="batch",
        label_smoothing=0.1,
        num_classes=material.classes,
    )
    return _batches(
        material,
        interpolation="random",
        auto_augment="rand-m9-mstd0.5-inc1",
        re_prob=0.25,
        re_mode="pixel",
        re_count=1,
        collate_fn=mix,
    )


def _batches(
    material: Material, collate_fn: Callable[..., Any] | None = None, **recipe: Any
) -> Iterator[Tensor]:
    dataset = create_dataset(
        "", root=str(material.tree), split="train", is_training=True, batch_size=BATCH
    )
    loader = create_loader(
        dataset,
        input_size=(3, SIDE, SIDE),
        batch_size=BATCH,
        is_training=True,
        num_workers=WORKERS,
        collate_fn=collate_fn,
        device=torch.device("cpu"),
        use_prefetcher=True,
        **recipe,
    )
    for images, _ in chain.from_iterable(repeat(loader)):
        yield images
