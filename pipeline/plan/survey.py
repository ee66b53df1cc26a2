"""A training on many numbers of nodes: where it stops to scale, and what helps there. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import UserError
from pipeline.plan.advice import Advice, Situation, advise
from pipeline.plan.counts import make_plan, useful_worlds
from pipeline.plan.scaling import StepForecast

ENOUGH = 0.92
"""Of the efficiency; under it advice is given."""


@dataclass(frozen=True)
class Unfit:
    """Numbers of nodes that cannot run a config for one and the same reason."""

    nodes: tuple[int, ...]
    reason: str
    """Of the most nodes: what it says to change lets the others run too."""


@dataclass(frozen=True)
class Limit:
    """Where the efficiency is under ``ENOUGH``."""

    first: int
    """Fewest nodes for which it is."""
    first_without_idle_slots: int | None
    better_nodes: tuple[int, ...]
    """Numbers of nodes, up to the most asked for, that leave no slot idle."""
    nodes: int
    """Those that the advice is for."""
    advice: tuple[Advice, ...]


@dataclass(frozen=True)
class Survey:
    """One global batch."""

    global_batch: int
    micro_batch: int
    micro_batches: int
    rows: tuple[StepForecast, ...]
    unfit: tuple[Unfit, ...]
    is_bound: bool
    """By a rate that is one: where the efficiency ends is not known then, and limit is None."""
    limit: Limit | None


@dataclass(frozen=True)
class Impossible:
    """A global batch that no asked number of nodes can train."""

    global_batch: int
    error: str


def survey(first: Situation, node_counts: Sequence[int]) -> Survey:
    """Forecasts for each number of nodes; ``first`` says all but the world.

    Raises UserError where none of them can run the config.
    """
    situations: list[Situation] = []
    errors: dict[int, UserError] = {}
    for nodes in sorted(node_counts):
        try:
            situations.append(_on(first, nodes))
        except UserError as error:
            errors[nodes] = error
    unfit = _unfit(first, errors)
    if not situations:
        raise UserError("; ".join(one.reason for one in unfit))
    is_bound = first.machine.is_bound
    rows = tuple(situation.forecast() for situation in situations)
    return Survey(
        global_batch=first.plan.global_batch,
        micro_batch=first.plan.micro_batch,
        micro_batches=first.plan.micro_batches,
        rows=rows,
        unfit=unfit,
        is_bound=is_bound,
        limit=None if is_bound else _limit(situations, rows),
    )


def _unfit(first: Situation, errors: Mapping[int, UserError]) -> tuple[Unfit, ...]:
    """Those of too many ranks apart from those that fail otherwise."""
    most = first.plan.micro_batches // first.machine.ranks_per_node
    groups = [
        [nodes for nodes in errors if (nodes > most) == are_too_many]
        for are_too_many in (False, True)
    ]
    return tuple(Unfit(tuple(nodes), str(errors[nodes[-1]])) for nodes in groups if nodes)


def _on(first: Situation, nodes: int) -> Situation:
    world = nodes * first.machine.ranks_per_node
    plan = make_plan(first.config, world, first.plan.train_samples, first.plan.val_samples)
    return replace(first, plan=plan)


def _limit(situations: Sequence[Situation], rows: Sequence[StepForecast]) -> Limit | None:
    under = [index for index, row in enumerate(rows) if row.efficiency < ENOUGH]
    if not under:
        return None
    full = [index for index in under if not rows[index].idle_slots]
    chosen = full[0] if full else under[0]
    per_node = situations[0].machine.ranks_per_node
    worlds = useful_worlds(situations[0].plan.micro_batches)
    most = rows[-1].ranks
    return Limit(
        first=rows[under[0]].nodes,
        first_without_idle_slots=rows[full[0]].nodes if full else None,
        better_nodes=tuple(w // per_node for w in worlds if w % per_node == 0 and w <= most),
        nodes=rows[chosen].nodes,
        advice=tuple(advise(situations[chosen])),
    )
