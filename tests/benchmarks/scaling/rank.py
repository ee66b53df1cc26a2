"""Run on every rank: times steps on random images and counts their bytes.

python -m tests.benchmarks.scaling.rank OUT CASES STEPS
python -m tests.benchmarks.scaling.rank OUT rate | hop

CASES is JSON, a list of ``Case``. Rank 0 writes OUT.
"""

import atexit
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipeline.collective import Collective, connect
from pipeline.collective.pair_rates import pair_rates
from pipeline.data.batches import MicroBatch, Step
from pipeline.data.mix import DTYPES
from pipeline.engine import Engine
from pipeline.models.build import build_model
from pipeline.optim import build_optimizer
from pipeline.plan import make_plan
from pipeline.world import World, from_environment
from tests.benchmarks.parity.traffic import Traffic
from tests.benchmarks.scaling.cases import MICRO_BATCH, SIDE_PIXELS, Case, config_of

_WARM_UP_STEPS = 2
"""DeepSpeed's first steps do more."""
_LINK_BYTES = 64 << 20
"""Of an all-reduce; gradients go round in pieces of about this size."""
_HOPS = 200


def main() -> None:
    world = from_environment()
    torch.set_num_threads(1)
    found = _found(world, sys.argv[2])
    if world.is_main:
        Path(sys.argv[1]).write_text(json.dumps(found))


def _found(world: World, words: str) -> object:
    if words == "rate":
        return _bytes_per_second(world)
    traffic = Traffic(world.size)
    traffic.install()
    collective = connect(world, "cpu", 120)
    if words == "hop":
        found: object = _hop_s(collective)
    else:
        chosen = [Case(**fields) for fields in json.loads(words)]
        found = {case.name: _measure(case, collective, traffic) for case in chosen}
    collective.close()
    return found


def _bytes_per_second(world: World) -> float:
    """Of all-reduces between two ranks."""
    rate = pair_rates(world, [1 - world.rank], "cpu", _LINK_BYTES, 60)[1 - world.rank]
    assert isinstance(rate, float), rate
    return rate * 1e6


def _hop_s(collective: Collective) -> float:
    one = torch.zeros(1)
    collective.total(one)
    began_s = time.perf_counter()
    for _ in range(_HOPS):
        collective.total(one)
    # Of two ranks in a ring, an all-reduce is two hops.
    return (time.perf_counter() - began_s) / _HOPS / 2


def _measure(case: Case, collective: Collective, traffic: Traffic) -> dict[str, Any]:
    """Seconds of each step, and the bytes that one of them sends."""
    world, config = collective.world, config_of(case)
    plan = make_plan(config, world.size, 100_000, 10)
    model = build_model(config.model, config.seed, SIDE_PIXELS)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    optimizer = build_optimizer(model, config.optim, plan.lr_peak)
    engine = Engine(model, optimizer, config, plan, collective)
    draw = torch.Generator().manual_seed(world.rank)
    images = torch.randn(MICRO_BATCH, 3, SIDE_PIXELS, SIDE_PIXELS, generator=draw)
    slot = MicroBatch(
        index=plan.micro_batches_of(world.rank)[0],
        images=images.to(DTYPES[config.engine.dtype], memory_format=torch.channels_last),
        targets=torch.randint(0, config.model.num_classes, (MICRO_BATCH,), generator=draw),
        drop_path=None,
        torch_seed=0,
        ids=(),
    )
    mine = plan.micro_batches_of(world.rank)
    slots = [replace(slot, index=index) for index in mine]
    slots += [replace(slot, is_empty=True)] * (plan.slots - len(mine))
    for number in range(_WARM_UP_STEPS):
        engine.train_step(Step(number, slots, 0.0), 1e-4)
    with traffic.counting():
        engine.train_step(Step(_WARM_UP_STEPS, slots, 0.0), 1e-4)
    seconds: list[float] = []
    for number in range(int(sys.argv[3])):
        collective.agree(False)
        began_s = time.perf_counter()
        engine.train_step(Step(number, slots, 0.0), 1e-4)
        seconds.append(time.perf_counter() - began_s)
    return {"parameters": parameters, "step_s": seconds, "sent_bytes": traffic.ring_bytes}


if __name__ == "__main__":
    main()
    # To take down all that was imported is seconds, and there is nothing left to write.
    atexit._run_exitfuncs()
    os._exit(0)
