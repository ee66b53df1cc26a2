"""How long a step takes on many ranks: compute, update, and what of the exchange shows. Pure."""

from dataclasses import dataclass

from pipeline.config import Config
from pipeline.plan.counts import Plan
from pipeline.plan.network import Network
from pipeline.plan.traffic import Exchange

_BACKWARD = 2 / 3
"""Of the compute time: twice the multiply-adds of the forward pass."""
_ADAMW_BYTES = 28
"""Per parameter: fp32 gradient read; master and two moments read and written."""


@dataclass(frozen=True)
class Machine:
    """What a rank computes on and is joined by."""

    images_per_second: float
    """Of one rank alone, training."""
    network: Network
    ranks_per_node: int
    memory_bytes_per_second: float | None
    """None: updates count as part of the images per second, as in a training that was timed.

    Such a rate has one update per micro-batch in it: no less than the sum of several micro-batches
    and a single update take, nor than each of many ranks' part of it.
    """
    is_bound: bool = False
    """images_per_second is the peak's and was seen nowhere: efficiency is a bound from below."""


@dataclass(frozen=True)
class StepForecast:
    """One optimizer step; all of a rank, save idle_slots and images_per_second, of all ranks."""

    nodes: int
    ranks: int
    slots: int
    idle_slots: int
    compute_s: float
    """Of its slots; an empty one takes as long as a full one."""
    update_s: float
    """Of the optimizer and of the sum of several micro-batches, unless images_per_second has it."""
    sent_bytes: float
    exchange_s: float
    """All collectives, hidden or not."""
    exposed_s: float
    """What of them no backward pass hides."""
    step_s: float
    images_per_second: float
    efficiency: float
    """The images' compute time, spread evenly over the ranks, over that of the step."""
    hours: float
    """Of all steps of the run, without evaluations and checkpoints."""
    rank_hours: float


def forecast_step(config: Config, plan: Plan, exchange: Exchange, machine: Machine) -> StepForecast:
    """Forecast of a plan whose world is made of whole nodes."""
    nodes = plan.world_size // machine.ranks_per_node
    assert nodes * machine.ranks_per_node == plan.world_size
    compute_s = plan.slots * plan.micro_batch / machine.images_per_second
    update_s = _update_s(config, plan, exchange, machine)
    exchange_s = exposed_s = 0.0
    for collective in exchange.collectives:
        seconds = collective.seconds(nodes, machine.ranks_per_node, machine.network)
        exchange_s += seconds
        if collective.overlaps:
            # The first call waits for its gradients, and the last one for the end of the pass.
            last = 1 / collective.calls
            window_s = compute_s * _BACKWARD * (1 - last)
            seconds = max(seconds * last, seconds - window_s)
        exposed_s += seconds
    step_s = compute_s + update_s + exposed_s
    hours = plan.total_steps * step_s / 3600
    ideal_s = plan.global_batch / plan.world_size / machine.images_per_second
    return StepForecast(
        nodes=nodes,
        ranks=plan.world_size,
        slots=plan.slots,
        idle_slots=plan.idle_slots,
        compute_s=compute_s,
        update_s=update_s,
        sent_bytes=exchange.sent_bytes(plan.world_size),
        exchange_s=exchange_s,
        exposed_s=exposed_s,
        step_s=step_s,
        images_per_second=plan.global_batch / step_s,
        efficiency=ideal_s / step_s,
        hours=hours,
        rank_hours=hours * plan.world_size,
    )


def _update_s(config: Config, plan: Plan, exchange: Exchange, machine: Machine) -> float:
    """Bounded by the memory: AdamW on this rank's part, and the sum of the micro-batches."""
    if machine.memory_bytes_per_second is None:
        return 0.0
    parts = plan.world_size if config.engine.zero_stage else 1
    moved = exchange.parameters * (_ADAMW_BYTES + exchange.weight_bytes) / parts
    if plan.slots > 1:
        # Each gradient is read, and the fp32 sum read and written.
        moved += exchange.parameters * plan.slots * (exchange.weight_bytes + 8)
    return moved / machine.memory_bytes_per_second
