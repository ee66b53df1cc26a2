"""Run by test_engine on every rank: checks of one engine after the other, findings as JSON."""

import copy
import hashlib
import json
import math
import sys
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch._dynamo
from torch.nn.functional import cross_entropy

from pipeline.collective import Collective, connect
from pipeline.config.schema import Config
from pipeline.data.batches import Step
from pipeline.engine import AVERAGE, MASTER, Engine
from pipeline.models.build import build_model
from pipeline.optim import build_optimizer
from pipeline.world import from_environment
from tests.dist.toy import DTYPES, SIDE, config_of, engine_of, micro_batch_of, plan_of, steps_of

LR = 1e-2
BAD = 4
"""The micro-batch with a bad sample; two ranks of 6 micro-batches: the second one's."""


def masters(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: engine.state.read(p, MASTER).clone() for name, p in engine.parameters()}


def everything(engine: Engine) -> dict[str, torch.Tensor]:
    found = {
        f"{kind}/{name}": engine.state.read(parameter, kind).clone()
        for name, parameter in engine.parameters()
        for kind in engine.state.kinds(parameter)
    }
    return found | {name: buffer.clone() for name, buffer in engine.module.named_buffers()}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def data(config: Config, collective: Collective, engine: Engine, count: int) -> list[Step]:
    plan = plan_of(config, collective)
    return steps_of(config, plan, collective.world, engine.module.drop_path_rates, count)


def average(case: str, collective: Collective) -> dict[str, Any]:
    """The average is that of the masters, and evaluation computes with it and goes back."""
    config = config_of(case, optim={"model_ema_decay": 0.75})
    engine = engine_of(config, collective, 1)
    expected = masters(engine)
    for step in data(config, collective, engine, 3):
        engine.train_step(step, LR)
        for name, value in masters(engine).items():
            expected[name] = torch.lerp(expected[name], value, 0.25)
    found = {name: engine.state.read(p, AVERAGE).clone() for name, p in engine.parameters()}
    plain = build_model(config.model, 5, SIDE).eval()
    plain.load_state_dict(expected)
    plain.to(DTYPES[config.engine.dtype])
    images = micro_batch_of(config, engine.module.drop_path_rates, 9, 0).images
    before, state = engine.logits(images), everything(engine)
    with engine.state.averaged():
        within = engine.logits(images)
    return {
        "equals_naive": equal(found, expected),
        "differs_from_masters": not equal(found, masters(engine)),
        "computes_with_it": torch.equal(within, plain(images).float()),
        "goes_back": torch.equal(engine.logits(images), before)
        and equal(everything(engine), state),
    }


def bad_step(case: str, collective: Collective) -> dict[str, Any]:
    """One bad sample, or a gradient alone: named by its rank, and nothing changes."""
    # BatchNorm would carry a bad image over to all of its micro-batch.
    norm = "batch_norm" if case.startswith("1-") else "group_norm"
    config = config_of(case, optim={"model_ema_decay": 0.75}, model={"metaformer": {"norm": norm}})
    engine, other = (engine_of(config, collective, 1) for _ in range(2))
    first, second, third = data(config, collective, engine, 3)
    slots = []
    for slot in second.slots:
        images = slot.images.clone()
        if slot.index == BAD:
            images[2] = torch.inf
        slots.append(replace(slot, images=images))
    for one in (engine, other):
        one.train_step(first, LR)
    before = everything(engine)
    results = [engine.train_step(replace(second, slots=slots), LR)]
    is_mine = any(slot.index == BAD for slot in second.slots)
    hook = engine.module.stem.conv.bias.register_hook(lambda g: g * torch.inf if is_mine else g)
    results.append(engine.train_step(second, LR))
    hook.remove()
    unchanged = equal(everything(engine), before)
    norms = [float(one.train_step(third, LR).grad_norm) for one in (engine, other)]
    return {
        "skipped": all(result.is_skipped for result in results),
        "culprits": [
            [c.micro_batch, len(c.sample_ids), list(c.bad_sample_ids), c.parameters[0]]
            for c in results[0].culprits
        ],
        "by_gradient": [
            [c.micro_batch, len(c.bad_sample_ids), math.isfinite(c.loss), list(c.parameters)]
            for c in results[1].culprits
        ],
        "unchanged": unchanged,
        "same_afterwards": equal(everything(engine), everything(other)) and norms[0] == norms[1],
    }


def clipping(case: str, collective: Collective) -> dict[str, Any]:
    """One clipped step beside plain PyTorch's."""
    config = config_of(case, optim={"clip_grad": 0.01})
    engine = engine_of(config, collective, 1)
    rates = engine.module.drop_path_rates
    result = engine.train_step(data(config, collective, engine, 1)[0], LR)
    plain = build_model(config.model, 1, SIDE).train()
    optimizer = build_optimizer(plain, config.optim, LR)
    count = plan_of(config, collective).micro_batches
    for index in range(count):
        batch = micro_batch_of(config, rates, 0, index)
        logits = plain(batch.images, batch.drop_path)
        (cross_entropy(logits, batch.targets, label_smoothing=0.1) / count).backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.01)
    optimizer.step()
    found = masters(engine)
    apart = [float((found[name] - p.detach()).abs().max()) for name, p in plain.named_parameters()]
    return {"norm": float(result.grad_norm), "plain_norm": float(norm), "apart": max(apart)}


def recomputed(case: str, collective: Collective) -> dict[str, Any]:
    """Gradient checkpointing gives the same bits."""
    found = []
    for flag in (False, True):
        config = config_of(
            case, engine={"grad_checkpointing": flag}, model={"metaformer": {"norm": "batch_norm"}}
        )
        engine = engine_of(config, collective, 1)
        for step in data(config, collective, engine, 2):
            engine.train_step(step, LR)
        found.append(everything(engine))
    return {"equal": equal(*found)}


def frozen(case: str, collective: Collective) -> dict[str, Any]:
    """What is frozen stays to the bit; the rest trains."""
    config = config_of(
        case, model={"freeze": ["stem.*", "stages.0.*"]}, optim={"model_ema_decay": 0.75}
    )
    engine = engine_of(config, collective, 1)
    start = {
        k: v.detach().clone() for k, v in build_model(config.model, 1, SIDE).named_parameters()
    }
    for step in data(config, collective, engine, 2):
        engine.train_step(step, LR)
    end = masters(engine)
    same = sorted(name for name in end if torch.equal(end[name], start[name]))
    kinds = {name: engine.state.kinds(p) for name, p in engine.parameters()}
    return {
        "same": same == sorted(n for n in end if n.startswith(("stem.", "stages.0."))),
        "kinds": kinds["stem.conv.weight"] == ("master",) and "average" in kinds["head.fc.bias"],
    }


def statistics(case: str, collective: Collective) -> dict[str, Any]:
    """BatchNorm after one step: its running statistics and the losses, to the bit."""
    config = config_of(case, model={"metaformer": {"norm": "batch_norm"}})
    engine = engine_of(config, collective, 1)
    before = {name: buffer.clone() for name, buffer in engine.module.named_buffers()}
    result = engine.train_step(data(config, collective, engine, 1)[0], LR)
    after = dict(engine.module.named_buffers())
    digest = hashlib.sha256()
    for name in sorted(after):
        digest.update(after[name].numpy().tobytes())
    return {
        "digest": digest.hexdigest(),
        "losses": collective.total(result.losses).tolist(),
        "moved": all(not torch.equal(after[n], before[n]) for n in after if "running" in n),
        "tracked": {int(b) for n, b in after.items() if n.endswith("tracked")} == {6},
        "dtypes": sorted({str(b.dtype) for n, b in after.items() if "running" in n}),
    }


def compiled(case: str, collective: Collective) -> dict[str, Any]:
    """Traced and split as for a GPU, but run by PyTorch's own kernels: the same to the bit.

    What comes after the first step and the first evaluation must not be compiled.
    """
    found = []
    for flag in (False, True):
        config = config_of(
            case,
            engine={"compile": flag, "grad_checkpointing": case.startswith("2-")},
            model={"metaformer": {"depths": [2, 2], "norm": ["group_norm", "batch_norm"]}},
            evaluate={"batch_size": 8},
        )
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        plain_compile = partial(torch.compile, backend="aot_eager")
        with mock.patch.object(torch, "compile", plain_compile):
            engine = engine_of(config, collective, 1)
        steps = data(config, collective, engine, 4)
        images = steps[0].slots[0].images
        first = [engine.train_step(steps[0], LR), engine.logits(images)]
        with torch.compiler.set_stance("fail_on_recompile"):
            engine.create_moments(images[:1])
            broken = [replace(slot, images=slot.images * torch.inf) for slot in steps[1].slots]
            results = [
                engine.train_step(step, LR)
                for step in (steps[1], replace(steps[2], slots=broken), steps[3])
            ]
            # Compiled, a smaller batch is filled up; the size of a batch rounds in its own way.
            filled = images.clone()
            filled[3:] = 0.0
            answers = engine.logits(images[:3] if flag else filled)[:3]
        found.append(everything(engine) | {"first": first[1], "answers": answers})
        losses = [result.losses for result in (first[0], *results)]
        found[-1] |= {f"losses {n}": torch.nan_to_num(loss) for n, loss in enumerate(losses)}
    counts = torch._dynamo.utils.counters
    return {
        "same": equal(*found),
        "named": bool(results[1].is_skipped and results[1].culprits),
        # Two stages, in training and in evaluation.
        "graphs": counts["stats"]["unique_graphs"] == 4 and not counts["graph_break"],
    }


CHECKS = {
    f.__name__: f for f in (average, bad_step, clipping, compiled, recomputed, frozen, statistics)
}


def main() -> None:
    torch.set_num_threads(1)
    collective = connect(from_environment(), "cpu", 60)
    results = {}
    for words in sys.argv[1:]:
        check, case = words.split(":")
        results[words] = copy.deepcopy(CHECKS[check](case, collective))
    collective.close()
    print(json.dumps(results))


main()
