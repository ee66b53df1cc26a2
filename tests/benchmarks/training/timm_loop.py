"""A training loop from timm's parts, as its train.py puts them together, over the same tars."""

from functools import partial

import timm
import torch
from timm.data import FastCollateMixup, create_dataset, create_loader
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter

from tests.benchmarks.loader.material import WORKERS, Material
from tests.benchmarks.training.clock import Clock
from tests.benchmarks.training.ours import BATCH, SIDE

_LOG_EVERY = 50


def run(material: Material, dtype: str, clock: Clock) -> None:
    """Train until the clock has seen enough steps; raises Enough."""
    torch.set_num_threads(WORKERS)
    torch.manual_seed(42)
    model = timm.create_model(
        "poolformer_s12", num_classes=material.classes, drop_path_rate=0.1
    ).to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
    scheduler, epochs = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=300, warmup_epochs=5, cooldown_epochs=10
    )
    dataset = create_dataset(
        "wds/",
        root=str(material.shards),
        split="train",
        is_training=True,
        batch_size=BATCH,
        seed=42,
    )
    loader = create_loader(
        dataset,
        input_size=(3, SIDE, SIDE),
        batch_size=BATCH,
        is_training=True,
        interpolation="random",
        auto_augment="rand-m9-mstd0.5-inc1",
        re_prob=0.25,
        re_mode="pixel",
        re_count=1,
        num_workers=WORKERS,
        collate_fn=FastCollateMixup(
            mixup_alpha=0.8,
            cutmix_alpha=1.0,
            switch_prob=0.5,
            label_smoothing=0.1,
            num_classes=material.classes,
        ),
        device=torch.device("cpu"),
        use_prefetcher=True,
    )
    autocast = partial(
        torch.autocast, device_type="cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"
    )
    criterion = SoftTargetCrossEntropy()
    losses = AverageMeter()
    for epoch in range(epochs):
        model.train()
        for number, (images, targets) in enumerate(loader):
            images = images.contiguous(memory_format=torch.channels_last)
            with autocast():
                loss = criterion(model(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if number % _LOG_EVERY == 0:
                losses.update(loss.item(), len(images))
            clock.tick()
        scheduler.step(epoch + 1)
