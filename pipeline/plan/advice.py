"""What would make a step more efficient, and by how much. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.plan.counts import Plan, make_plan
from pipeline.plan.known import Gpu, KnownModel
from pipeline.plan.network import Link, Network
from pipeline.plan.scaling import Machine, StepForecast, forecast_step
from pipeline.plan.traffic import Exchange, exchange_of

_LEAST_GAIN = 0.005
"""Of the efficiency: less is within what the model leaves out."""
_USABLE_MEMORY = 0.9
_FACTORS = (2, 4)
"""Of a global batch: each is another training, with another learning rate."""
_SMALLEST_PART = 1 / 4
"""Of a micro-batch: still smaller ones are not computed at the same images per second."""

Kind = Literal["setting", "new run", "recipe", "code", "network"]
"""setting: a training goes on with it; new run: the same images per step, drawn otherwise, which
resuming refuses; recipe: it makes another training; code: what is no setting today."""


@dataclass(frozen=True)
class Situation:
    """A training on a number of nodes."""

    config: Config
    plan: Plan
    parameters: int
    model: KnownModel | None
    machine: Machine
    gpu: Gpu | None

    def forecast(self) -> StepForecast:
        return forecast_step(self.config, self.plan, self.exchange, self.machine)

    @property
    def exchange(self) -> Exchange:
        return exchange_of(self.config, self.plan, self.parameters)


@dataclass(frozen=True)
class Advice:
    """A change, and the step that it would make."""

    change: str
    kind: Kind
    efficiency: float
    step_s: float
    hours: float


def advise(situation: Situation) -> list[Advice]:
    """Changes that help, the most useful first."""
    now = situation.forecast()
    changes = [*_settings(situation), *_recipes(situation), *_beyond_settings(situation)]
    better = [
        Advice(words, kind, made.efficiency, made.step_s, made.hours)
        for words, kind, made in changes
        if made.efficiency >= now.efficiency + _LEAST_GAIN
    ]
    return sorted(better, key=lambda advice: -advice.efficiency)


_Change = tuple[str, Kind, StepForecast]


def _settings(now: Situation) -> Iterator[_Change]:
    """The same images per step, split or kept otherwise."""
    if split := _best_split(now):
        size = split.plan.micro_batch
        yield f"train.micro_batch={size}: {_why(now, split)}", "new run", split.forecast()
    for stage in range(now.config.engine.zero_stage):
        if made := _changed(now, {"engine.zero_stage": stage}):
            why = "fewer bytes, and more memory per rank"
            yield f"engine.zero_stage={stage}: {why}", "setting", made.forecast()


def _best_split(now: Situation) -> Situation | None:
    """The global batch in other micro-batches; of equally good ones the largest."""
    batch, least = now.plan.global_batch, now.plan.micro_batch * _SMALLEST_PART
    sizes = [size for size in range(batch, 0, -1) if batch % size == 0 and size >= least]
    changed = [_changed(now, {"train.micro_batch": size}) for size in sizes]
    fitting = [made for made in changed if made is not None]
    # Rounded, so that the last bit does not choose among equals.
    return max(fitting, key=lambda made: round(made.forecast().efficiency, 6), default=None)


def _why(now: Situation, split: Situation) -> str:
    if split.plan.slots == 1:
        hides = "its reduction overlaps the backward pass"
        return "one micro-batch per rank" + (f": {hides}" if split.exchange.overlaps else "")
    idle, slots = split.plan.idle_slots, split.plan.slots * split.plan.world_size
    if idle * split.plan.micro_batch < now.plan.idle_slots * now.plan.micro_batch:
        return f"{idle} of {slots} slots idle" if idle else "no slot is idle"
    return "fewer exchanges in a step"


def _recipes(now: Situation) -> Iterator[_Change]:
    for factor in _FACTORS:
        batch, micro_batch = now.plan.global_batch * factor, now.plan.micro_batch
        wider = {"train.global_batch": batch, "train.micro_batch": micro_batch * factor}
        deeper = {"train.global_batch": batch}
        ways = (
            (wider, "as many, larger micro-batches per rank"),
            (deeper, "more micro-batches per rank and exchange"),
        )
        found: list[_Change] = []
        for settings, why in ways:
            if made := _changed(now, settings):
                words = " ".join(f"{key}={value}" for key, value in settings.items())
                found.append((f"{words}: {why}", "recipe", made.forecast()))
        yield from sorted(found, key=lambda change: -change[2].efficiency)[:1]


def _beyond_settings(now: Situation) -> Iterator[_Change]:
    exchange = now.exchange
    halved = replace(exchange, reduction_bytes=2)
    made = forecast_step(now.config, now.plan, halved, now.machine)
    yield "gradients reduced in bf16 (fp32 by design: DeepSpeed issue 3979)", "code", made
    if exchange.overlaps:
        finer = replace(exchange, bucket_elements=-(-exchange.bucket_elements // 8))
        made = forecast_step(now.config, now.plan, finer, now.machine)
        yield "buckets an eighth as large, so that more of them overlap", "code", made
    network = now.machine.network
    twice = Link(2 * network.between.bytes_per_second, network.between.hop_s)
    faster = replace(now.machine, network=Network(network.inside, twice))
    made = forecast_step(now.config, now.plan, exchange, faster)
    yield "a network twice as fast between the nodes", "network", made


def _changed(now: Situation, settings: dict[str, int]) -> Situation | None:
    """None where the change does not fit the world, the data or the memory."""
    config = _with(now.config, settings)
    if not _fits_memory(now, config):
        return None
    try:
        plan = make_plan(config, now.plan.world_size, now.plan.train_samples, now.plan.val_samples)
    except UserError:
        return None
    return replace(now, config=config, plan=plan)


def _fits_memory(now: Situation, config: Config) -> bool:
    """Do the activations, where they are known; state is small beside them."""
    model, gpu = now.model, now.gpu
    if model is None or gpu is None or config.augment.img_size != model.img_size:
        return True
    per_image = model.activation_bytes * (1 if config.engine.dtype == "bf16" else 2)
    return per_image * config.train.micro_batch <= _USABLE_MEMORY * gpu.memory_bytes


def _with(config: Config, settings: dict[str, int]) -> Config:
    values: dict[str, Any] = config.model_dump()
    for key, value in settings.items():
        section, name = key.split(".")
        values[section][name] = value
    return Config.model_validate(values)
