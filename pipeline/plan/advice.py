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
    kind: Literal["setting", "recipe", "code", "network"]
    """recipe: a setting that makes another training; code: what is no setting today."""
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


_Change = tuple[str, Literal["setting", "recipe", "code", "network"], StepForecast]


def _settings(now: Situation) -> Iterator[_Change]:
    """The same images per step, computed or split otherwise."""
    share, rest = divmod(now.plan.global_batch, now.plan.world_size)
    if now.plan.slots > 1 and not rest:
        why = "one micro-batch per rank: its reduction overlaps the backward pass"
        if now.config.engine.zero_stage == 0 or now.config.device == "cpu":
            why = "one micro-batch per rank"
        yield from _changed(now, {"train.micro_batch": share}, why, "setting")
    if now.plan.idle_slots:
        sizes = [size for size in range(1, now.plan.micro_batch) if not share % size]
        if sizes and not rest:
            why = "no slot is idle"
            yield from _changed(now, {"train.micro_batch": sizes[-1]}, why, "setting")
    for stage in range(now.config.engine.zero_stage):
        why = "fewer bytes, and more memory per rank"
        yield from _changed(now, {"engine.zero_stage": stage}, why, "setting")


def _recipes(now: Situation) -> Iterator[_Change]:
    for factor in _FACTORS:
        batch, micro_batch = now.plan.global_batch * factor, now.plan.micro_batch
        wider = {"train.global_batch": batch, "train.micro_batch": micro_batch * factor}
        found = list(_changed(now, wider, "as many, larger micro-batches per rank", "recipe"))
        deeper = {"train.global_batch": batch}
        found += _changed(now, deeper, "more micro-batches per rank and exchange", "recipe")
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


def _changed(
    now: Situation, settings: dict[str, int], why: str, kind: Literal["setting", "recipe"]
) -> Iterator[_Change]:
    """The change, unless it does not fit the world, the data or the memory."""
    config = _with(now.config, settings)
    if not _fits_memory(now, config):
        return
    try:
        plan = make_plan(config, now.plan.world_size, now.plan.train_samples, now.plan.val_samples)
    except UserError:
        return
    made = replace(now, config=config, plan=plan).forecast()
    yield f"{' '.join(f'{key}={value}' for key, value in settings.items())}: {why}", kind, made


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
