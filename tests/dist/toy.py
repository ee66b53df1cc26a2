"""A small model, and random micro-batches that are the same for every world size."""

from dataclasses import replace
from typing import Any

import torch

from pipeline.collective import Collective
from pipeline.config.schema import Config
from pipeline.data.augment.drop_path import drop_path_scales, torch_seed
from pipeline.data.batches import MicroBatch, Step
from pipeline.engine import Engine
from pipeline.models.build import build_model
from pipeline.models.computing import set_computing
from pipeline.optim import build_optimizer
from pipeline.plan import Plan, make_plan
from pipeline.world import World

SIDE = 32
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def config_of(case: str, **sections: dict[str, Any]) -> Config:
    """case: ``<ZeRO stage>-<dtype>-<micro-batch>-<global batch>``; sections go on top."""
    stage, dtype, micro_batch, batch = case.split("-")
    # 10 classes and 36 channels: sizes that 3 or 4 ranks do not divide.
    network = {"depths": [1, 1], "dims": [24, 36], "layer_scale_init": 1e-2}
    settings: dict[str, Any] = {
        "device": "cpu",
        "augment": {"img_size": SIDE},
        "model": {"num_classes": 10, "drop_path": 0.1, "metaformer": network},
        "engine": {"zero_stage": int(stage), "dtype": dtype},
        "train": {"global_batch": int(batch), "micro_batch": int(micro_batch), "epochs": 10},
        "optim": {"warmup_epochs": 0},
    }
    for section, values in sections.items():
        inner = {k: network | v if k == "metaformer" else v for k, v in values.items()}
        settings[section] = settings.get(section, {}) | inner
    return Config.model_validate(settings)


def plan_of(config: Config, collective: Collective) -> Plan:
    return make_plan(config, collective.world.size, 1000, 10)


def engine_of(config: Config, collective: Collective, seed: int) -> Engine:
    plan = plan_of(config, collective)
    model = build_model(config.model, seed, SIDE)
    if config.engine.grad_checkpointing:
        model.set_grad_checkpointing()
    set_computing(model, config)
    optimizer = build_optimizer(model, config.optim, plan.lr_peak)
    return Engine(model, optimizer, config, plan, collective)


def micro_batch_of(config: Config, rates: Any, number: int, index: int) -> MicroBatch:
    draw = torch.Generator().manual_seed(1000 * number + index)
    size, dtype = config.train.micro_batch, DTYPES[config.engine.dtype]
    scales = drop_path_scales(rates, 1, number, index, size)
    return MicroBatch(
        index=index,
        images=torch.randn(size, 3, SIDE, SIDE, generator=draw).to(dtype),
        targets=torch.randint(0, 10, (size,), generator=draw),
        drop_path=torch.from_numpy(scales).to(dtype),
        torch_seed=torch_seed(1, number, index),
        ids=tuple(range(1000 * number + 100 * index, 1000 * number + 100 * index + size)),
    )


def steps_of(config: Config, plan: Plan, world: World, rates: Any, count: int) -> list[Step]:
    """This rank's share of the first steps."""
    result = []
    for number in range(count):
        mine = plan.micro_batches_of(world.rank)
        slots = [micro_batch_of(config, rates, number, index) for index in mine]
        slots += [replace(slots[0], is_empty=True)] * (plan.slots - len(slots))
        result.append(Step(number, slots, 0.0))
    return result
