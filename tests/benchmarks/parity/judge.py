"""Outcomes to checks: how far apart, how far at most, and whether that holds. Pure.

How far two trainings may drift apart is measured, not chosen: the plain training is repeated
with one weight moved by one ulp, for several weights in turn. What one nudge does is a single
draw, from nothing at all to several times the usual; so the bound is 3 times the median over
the nudged weights of the largest difference of the mean loss in all steps.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tests.benchmarks.parity.cases import Case
from tests.benchmarks.parity.plain import OneStep
from tests.benchmarks.parity.results import Outcome, distance

ROUNDING = 1e-6
"""Relative, of fp32 sums in another order."""
BF16_ROUNDING = 2.0**-8
"""Relative, of a value rounded to bf16 once."""
NUDGES = 3.0
"""How many times as far apart as the typical nudge drives the plain training."""


@dataclass(frozen=True)
class Check:
    """One figure and the most that it may be."""

    kind: str
    case: str
    """And from which state, where it is one step."""
    value: float
    most: float

    @property
    def holds(self) -> bool:
        return self.value <= self.most


def checks(
    outcomes: Mapping[Case, Outcome], plain: Mapping[str, Outcome], states: Iterable[int]
) -> Iterator[Check]:
    """All checks of the cases that were run; ``plain`` is by row."""
    states = list(states)
    for case, outcome in outcomes.items():
        yield _dtypes(case, outcome)
        if case.dtype == "fp32" and case.accumulates:
            yield from _beside_plain(case, outcome, plain[case.row], states)
        # One micro-batch per rank is another training on each world; there stages are compared.
        peer = replace(case, world=1) if case.accumulates else replace(case, zero_stage=0)
        if peer != case and peer in outcomes:
            yield from _beside_peer(case, outcome, peer, outcomes[peer], states)


def ulp_bound(plain: Outcome) -> float:
    """What the curves may lie apart."""
    curve = plain.mean_curve()
    nudged = [torch.tensor(c, dtype=torch.float64) for c in plain.facts["nudged_curves"]]
    return NUDGES * statistics.median([_apart(other, curve) for other in nudged])


def _beside_plain(
    case: Case, outcome: Outcome, plain: Outcome, states: list[int]
) -> Iterator[Check]:
    yield _differing("micro-batches unlike plain", case.name, outcome.digests, plain.digests)
    for number in states:
        ours, theirs = outcome.steps[number], plain.steps[number]
        where = f"{case.name}, step {number}"
        losses = float(((ours.losses - theirs.losses).abs() / theirs.losses.abs()).max())
        yield Check("losses beside plain", where, losses, ROUNDING)
        gradients = distance(ours.gradients, theirs.gradients)
        yield Check("gradients beside plain", where, gradients, ROUNDING)
        if theirs.buffers:
            apart = distance(_means(ours), _means(theirs))
            yield Check("running statistics beside plain", where, apart, ROUNDING)
    apart = _apart(outcome.mean_curve(), plain.mean_curve())
    yield Check("curve beside plain", case.name, apart, ulp_bound(plain))


def _beside_peer(
    case: Case, outcome: Outcome, peer: Case, other: Outcome, states: list[int]
) -> Iterator[Check]:
    most = ROUNDING if case.accumulates else BF16_ROUNDING
    unit = "other worlds" if case.accumulates else "stage 0"
    kind = f"unlike {unit}, {case.dtype}"
    yield _differing(f"micro-batches {kind}", case.name, outcome.digests, other.digests)
    for number in states:
        ours, theirs = outcome.steps[number], other.steps[number]
        where = f"{case.name} beside {peer.name}, step {number}"
        for what, one, two in _exact(ours, theirs):
            yield _differing(f"{what} {kind}", where, one, two)
        gradients = distance(ours.gradients, theirs.gradients)
        yield Check(f"gradients beside {unit}, {case.dtype}", where, gradients, most)


def _means(step: OneStep) -> dict[str, Tensor]:
    """Running means and variances, without the counts."""
    return {name: buffer for name, buffer in step.buffers.items() if buffer.is_floating_point()}


def _exact(ours: OneStep, theirs: OneStep) -> Iterator[tuple[str, Tensor, Tensor]]:
    """What the same state must give to the last bit, whoever computes it."""
    yield "losses", ours.losses, theirs.losses
    yield "logits", ours.logits, theirs.logits
    if theirs.buffers:
        names = sorted(theirs.buffers)
        one, two = (
            torch.cat([b[n].double().flatten() for n in names])
            for b in (ours.buffers, theirs.buffers)
        )
        yield "running statistics", one, two


def _dtypes(case: Case, outcome: Outcome) -> Check:
    """fp32 for all but the weights that compute; those as asked."""
    weights = {"fp32": "float32", "bf16": "bfloat16"}[case.dtype]
    wanted = {name: ["float32"] for name in ("masters", "exp_avg", "exp_avg_sq")}
    wanted["weights"] = [weights]
    found = outcome.facts["dtypes"]
    assert found.keys() == wanted.keys()
    wrong = sum(found[name] != wanted[name] for name in wanted)
    return Check("states of another dtype", case.name, wrong, 0)


def _differing(kind: str, case: str, ours: Tensor, theirs: Tensor) -> Check:
    """How many values are not the same to the last bit."""
    return Check(kind, case, int((ours != theirs).sum()), 0)


def _apart(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max())
