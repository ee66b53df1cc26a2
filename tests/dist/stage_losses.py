"""Run by test_stages on every rank: a few steps under each ZeRO stage, losses as JSON."""

import json
import sys

import torch

from pipeline.collective import connect
from pipeline.config.schema import Config
from pipeline.data.augment.drop_path import drop_path_scales, torch_seed
from pipeline.data.batches import MicroBatch, Step
from pipeline.engine import MASTER, MOMENTS, Engine
from pipeline.models.build import build_model
from pipeline.optim import build_optimizer
from pipeline.plan import Plan, make_plan
from pipeline.world import World, from_environment

MICRO_BATCH, BATCH, SIDE, STEPS = 8, 48, 32, 3
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def config_of(stage: int, dtype: str, micro_batch: int, batch: int) -> Config:
    return Config.model_validate(
        {
            "device": "cpu",
            "model": {
                "num_classes": 10,
                "drop_path": 0.1,
                # 10 classes and 36 channels: sizes that 3 or 4 ranks do not divide.
                "metaformer": {"depths": [1, 1], "dims": [24, 36], "layer_scale_init": 1e-2},
            },
            "engine": {"zero_stage": stage, "dtype": dtype},
            "train": {"global_batch": batch, "micro_batch": micro_batch, "epochs": 10},
            "optim": {"warmup_epochs": 0},
        }
    )


def steps(config: Config, plan: Plan, world: World, rates: object) -> list[Step]:
    """The same images for every world: micro-batch i is drawn from seed i."""
    result = []
    for number in range(2 * STEPS):
        slots = []
        for index in plan.micro_batches_of(world.rank):
            draw = torch.Generator().manual_seed(1000 * number + index)
            dtype = DTYPES[config.engine.dtype]
            scales = drop_path_scales(rates, 1, number, index, plan.micro_batch)  # type: ignore[arg-type]
            slots.append(
                MicroBatch(
                    index,
                    torch.randn(plan.micro_batch, 3, SIDE, SIDE, generator=draw).to(dtype),
                    torch.randint(0, 10, (plan.micro_batch,), generator=draw),
                    torch.from_numpy(scales).to(dtype),
                    torch_seed(1, number, index),
                )
            )
        first = slots[0]
        while len(slots) < plan.slots:
            slots.append(MicroBatch(first.index, first.images, first.targets, first.drop_path, 0, True))
        result.append(Step(number, slots, 0.0))
    return result


def trained(config: Config, world: World) -> dict[str, object]:
    """Losses of six steps; and whether state moved into a new engine continues bit-equal."""
    plan = make_plan(config, world.size, 1000, 10)

    def engine_of(seed: int) -> Engine:
        model = build_model(config.model, seed, SIDE)
        return Engine(model, build_optimizer(model, config.optim, plan.lr_peak), config, plan)

    def run(engine: Engine, part: list[Step]) -> list[float]:
        means = []
        for step in part:
            losses = engine.train_step(step, 1e-3).losses
            torch.distributed.all_reduce(losses)
            means.append(losses.mean().item())
        return means

    one = engine_of(1)
    data = steps(config, plan, world, one.module.drop_path_rates)
    losses = run(one, data[:STEPS])
    state = {
        (name, what): one.read(parameter, what).clone()
        for name, parameter in one.parameters()
        for what in (MASTER, *MOMENTS)
    }
    losses += run(one, data[STEPS:])
    two = engine_of(2)
    two.create_states(data[0].slots[0].images)
    for name, parameter in two.parameters():
        for what in (MASTER, *MOMENTS):
            two.write(parameter, what, state[name, what])
    two.set_update_count(STEPS)
    again = run(two, data[STEPS:])
    same = all(
        torch.equal(one.read(a, MASTER), two.read(b, MASTER))
        for (_, a), (_, b) in zip(one.parameters(), two.parameters(), strict=True)
    )
    return {"losses": losses, "continues_equal": same and again == losses[STEPS:]}


def main() -> None:
    world = from_environment()
    torch.set_num_threads(1)
    collective = connect(world, "cpu", 60)
    results = {}
    for case in sys.argv[1:]:
        stage, dtype, micro_batch, batch = case.split("-")
        config = config_of(int(stage), dtype, int(micro_batch), int(batch))
        results[case] = trained(config, world)
    collective.close()
    print(json.dumps(results))


main()
