"""Run by test_state_moves on every rank: which cases go on bit-equal in another engine, as JSON."""

import json
import sys

import torch

from pipeline.collective import Collective, connect
from pipeline.config.schema import Config
from pipeline.data.batches import Step
from pipeline.engine import MASTER, Engine
from pipeline.world import from_environment
from tests.dist.toy import config_of, engine_of, plan_of, steps_of

STEPS = 3


def continues_equal(config: Config, collective: Collective) -> bool:
    """Whether state moved into an engine of other weights gives the same losses and masters."""

    def run(engine: Engine, part: list[Step]) -> list[torch.Tensor]:
        return [collective.total(engine.train_step(step, 1e-3).losses) for step in part]

    one = engine_of(config, collective, seed=1)
    plan = plan_of(config, collective)
    data = steps_of(config, plan, collective.world, one.module.drop_path_rates, 2 * STEPS)
    run(one, data[:STEPS])
    state = {
        (name, kind): one.state.read(parameter, kind).clone()
        for name, parameter in one.parameters()
        for kind in one.state.kinds(parameter)
    }
    losses = run(one, data[STEPS:])
    two = engine_of(config, collective, seed=2)
    two.create_moments(data[0].slots[0].images)
    for name, parameter in two.parameters():
        for kind in two.state.kinds(parameter):
            two.state.write(parameter, kind, state[name, kind])
    two.state.set_update_count(STEPS)
    again = run(two, data[STEPS:])
    assert len({float(loss.sum()) for loss in losses}) == STEPS
    return all(torch.equal(a, b) for a, b in zip(losses, again, strict=True)) and all(
        torch.equal(one.state.read(a, MASTER), two.state.read(b, MASTER))
        for (_, a), (_, b) in zip(one.parameters(), two.parameters(), strict=True)
    )


def main() -> None:
    torch.set_num_threads(1)
    collective = connect(from_environment(), "cpu", 60)
    results = {case: continues_equal(config_of(case), collective) for case in sys.argv[1:]}
    collective.close()
    print(json.dumps(results))


main()
