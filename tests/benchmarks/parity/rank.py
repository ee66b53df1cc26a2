"""Run on every rank: trains and examines a list of cases in one process group.

python -m tests.benchmarks.parity.rank WORK SHARDS TASKS

TASKS is JSON, a list of ``Task``. Outcomes go to WORK, written by rank 0.
"""

import atexit
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.collective import Collective, connect
from pipeline.config import Config
from pipeline.data.batches import Step
from pipeline.engine import Engine
from pipeline.evaluate.scores import evaluate
from pipeline.models.build import build_model
from pipeline.optim import Schedule, build_optimizer
from pipeline.world import from_environment
from tests.benchmarks.parity import faults, probe
from tests.benchmarks.parity.batches import Batches, batches_of, digests
from tests.benchmarks.parity.cases import Case, Task, config_of
from tests.benchmarks.parity.plain import OneStep
from tests.benchmarks.parity.results import Outcome, save, state_path
from tests.benchmarks.parity.traffic import Traffic

_COUNTED_STEP = 2
"""Late enough for DeepSpeed to have settled: its first steps do more."""


def main() -> None:
    work, shards = Path(sys.argv[1]), Path(sys.argv[2])
    tasks = [Task(**t | {"case": Case(**t["case"])}) for t in json.loads(sys.argv[3])]
    world = from_environment()
    torch.set_num_threads(1)
    traffic = Traffic(world.size)
    traffic.install()
    collective = connect(world, "cpu", 120)
    kept: dict[str, Batches] = {}
    for task in tasks:
        case, config = task.case, config_of(task.case, shards, task.steps + 1)
        key = replace(case, zero_stage=1, reduction="fp32").name + str(task.steps)
        if key not in kept:
            kept.clear()  # one at a time fits into memory
            kept[key] = batches_of(config, world.rank, world.size)
        runner = Runner(task, config, kept[key], collective, traffic)
        outcome = runner.weighed() if task.weighs else runner.outcome(work)
        if world.is_main:
            save(work / case.name, outcome)
    collective.close()


class Runner:
    """One case on this rank."""

    def __init__(
        self,
        task: Task,
        config: Config,
        batches: Batches,
        collective: Collective,
        traffic: Traffic,
    ):
        self._task, self._config, self._batches = task, config, batches
        self._collective, self._traffic = collective, traffic
        self._schedule = Schedule(config.optim, config.train, batches.plan)

    def outcome(self, work: Path) -> Outcome:
        """A training from the start, then single steps from the plain training's states."""
        engine = self._engine()
        steps = self._batches.steps
        curve = torch.stack([self._step(engine, step) for step in steps[: self._task.steps]])
        facts: dict[str, Any] = {
            "dtypes": probe.dtypes(engine),
            "payload_bytes": dict(self._traffic.payload),
            "ring_bytes": self._traffic.ring_bytes,
        }
        if self._task.evaluates:
            facts |= asdict(evaluate(engine, self._batches.loader, self._collective).scores)
        found: dict[int, OneStep] = {}
        for number in self._task.states:
            probe.load_state(
                engine, load_file(state_path(work, self._task.case.row, number)), number
            )
            lr = self._schedule.lr(number)
            found[number] = probe.examine(
                engine, steps[number], lr, self._batches.questions, self._collective
            )
        held = digests(steps, self._batches.plan.micro_batches)
        return Outcome(self._collective.total(curve), self._collective.total(held), found, facts)

    def weighed(self) -> Outcome:
        """Bytes that engine and optimizer hold at three instants of a settled step."""
        step = _shrunk(self._batches.steps[0])
        foreign = probe.live_storages()  # kept alive, so that their addresses stay theirs
        engine = self._engine()
        bucket_numel = engine._engine.zero_reduce_bucket_size()
        held: dict[str, int] = {}
        buckets: dict[str, int] = {}

        def weigh(instant: str) -> None:
            # gloo's threads let go of what they moved only when they move something else.
            for _ in range(4):
                self._collective.total(torch.zeros(1, dtype=torch.int64))
            sizes = [s.nbytes() for at, s in probe.live_storages().items() if at not in foreign]
            buckets[instant] = sum(size for size in sizes if size >= 2 * bucket_numel)
            held[instant] = sum(sizes) - buckets[instant]

        reduction = probe.before(engine, "allreduce_gradients", lambda: weigh("before_reduction"))
        update = probe.before(engine, "step", lambda: weigh("before_update"))
        with reduction, update:
            for _ in range(2):
                with self._traffic.counting():
                    engine.train_step(step, 1e-3)
        weigh("between_steps")
        facts = {
            # Stage 3 leaves empty parameters between its steps.
            "parameters": sum(getattr(p, "ds_numel", p.numel()) for _, p in engine.parameters()),
            "bytes": held,
            "bucket_bytes": max(buckets.values()),
            "payload_bytes": dict(self._traffic.payload),
            "ring_bytes": self._traffic.ring_bytes,
        }
        nothing = torch.zeros(0, 0)
        return Outcome(nothing, nothing.long(), {}, facts)

    def _engine(self) -> Engine:
        config, plan = self._config, self._batches.plan
        model = build_model(config.model, config.seed, config.augment.img_size)
        optimizer = build_optimizer(model, config.optim, plan.lr_peak)
        with faults.reduced_in(self._task.case.reduction):
            engine = Engine(model, optimizer, config, plan, self._collective)
        if self._task.case.reduction == "none":
            faults.reduce_nothing(engine)
        return engine

    def _step(self, engine: Engine, step: Step) -> Tensor:
        lr = self._schedule.lr(step.number)
        if step.number != _COUNTED_STEP:
            return engine.train_step(step, lr).losses
        with self._traffic.counting():
            return engine.train_step(step, lr).losses


def _shrunk(step: Step) -> Step:
    """With one image per micro-batch, so that images and activations weigh nothing."""
    slots = [
        replace(
            slot,
            images=slot.images[:1].clone(),
            targets=slot.targets[:1].clone(),
            drop_path=None if slot.drop_path is None else slot.drop_path[:1].clone(),
        )
        for slot in step.slots
    ]
    return replace(step, slots=slots)


if __name__ == "__main__":
    main()
    # To take down all that was imported is seconds, and there is nothing left to write.
    atexit._run_exitfuncs()
    os._exit(0)
