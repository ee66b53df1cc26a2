"""Run by test_kernels on every rank: trainings by Triton's interpreter, findings as JSON."""

import json
import sys
from typing import Any

import torch

from pipeline.collective import Collective, connect
from pipeline.config.schema import Config
from pipeline.data.batches import Step
from pipeline.engine import MASTER, Engine
from pipeline.world import from_environment
from tests.dist.toy import config_of, engine_of, micro_batch_of, plan_of, steps_of

LR = 1e-3


def config(case: str, kernels: str, checkpointing: bool = False) -> Config:
    # The interpreter takes a second for each block and image.
    network = {"depths": [1], "dims": [8]}
    return config_of(
        case,
        model={"kernels": kernels, "metaformer": network},
        engine={"grad_checkpointing": checkpointing},
        optim={"model_ema_decay": 0.5},
    )


def steps(config: Config, collective: Collective, engine: Engine) -> list[Step]:
    rates = engine.module.drop_path_rates
    return steps_of(config, plan_of(config, collective), collective.world, rates, 2)


def training(config: Config, collective: Collective) -> list[float]:
    """Losses of all micro-batches of two steps, and the averaged weights' logits after them."""
    engine = engine_of(config, collective, 1)
    found: list[float] = []
    for step in steps(config, collective, engine):
        found += collective.total(engine.train_step(step, LR).losses).tolist()
    images = micro_batch_of(config, engine.module.drop_path_rates, 9, 0).images
    with engine.state.averaged():
        return found + engine.logits(images).flatten().tolist()


def resumes(config: Config, collective: Collective) -> bool:
    """Whether a step from another engine's state gives the same bits as there."""
    one, two = (engine_of(config, collective, seed) for seed in (1, 2))
    first, second = steps(config, collective, one)
    one.train_step(first, LR)
    two.create_moments(first.slots[0].images)
    for (_, parameter), (_, other) in zip(one.parameters(), two.parameters(), strict=True):
        for kind in one.state.kinds(parameter):
            two.state.write(other, kind, one.state.read(parameter, kind).clone())
    two.state.set_update_count(1)
    losses = [engine.train_step(second, LR).losses for engine in (one, two)]
    return torch.equal(*losses) and all(
        torch.equal(one.state.read(a, MASTER), two.state.read(b, MASTER))
        for (_, a), (_, b) in zip(one.parameters(), two.parameters(), strict=True)
    )


def main() -> None:
    torch.set_num_threads(1)
    collective = connect(from_environment(), "cpu", 60)
    results: dict[str, Any] = {}
    for words in sys.argv[1:]:
        case, kernels, kind = words.split(":")
        if kind == "resumed":
            results[words] = resumes(config(case, kernels), collective)
        else:
            results[words] = training(config(case, kernels, kind == "recomputed"), collective)
    collective.close()
    print(json.dumps(results))


main()
