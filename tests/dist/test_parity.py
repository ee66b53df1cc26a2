"""Training under every ZeRO stage is training in plain PyTorch: the harness on few ranks."""

from collections.abc import Mapping

import pytest

from pipeline.plan.traffic import Exchange
from tests.benchmarks.parity.cases import STAGES, Case
from tests.benchmarks.parity.reduced import STAGE_WORLD, STATES, UNREDUCED, Reduced, weighed_cases
from tests.benchmarks.parity.results import distance
from tests.benchmarks.parity.seeds import trend
from tests.benchmarks.parity.weight import formula_bytes_per_parameter, memory_checks

# Kinds of checks, and of how many cases and states each must be.
KINDS = {
    "states of another dtype": 27,
    "micro-batches unlike plain": 12,
    "losses beside plain": 36,
    "gradients beside plain": 36,
    "running statistics beside plain": 9,
    "curve beside plain": 12,
    "losses unlike stage 0, bf16": 9,
    "logits unlike stage 0, bf16": 9,
    "gradients beside stage 0, bf16": 9,
}


@pytest.mark.parametrize("kind", KINDS)
def test_holds(kind: str, parity: Reduced) -> None:
    found = [check for check in parity.checks() if check.kind == kind]
    assert len(found) == KINDS[kind]
    assert all(check.holds for check in found), [check for check in found if not check.holds]


def test_a_plain_training_learns_and_a_nudge_shows(parity: Reduced) -> None:
    for row, plain in parity.plain.items():
        curve = plain.mean_curve()
        assert curve[-3:].mean() < curve[:3].mean(), row
        assert any(nudged != curve.tolist() for nudged in plain.facts["nudged_curves"]), row


def test_gradients_that_ranks_keep_to_themselves_are_found(parity: Reduced) -> None:
    """DeepSpeed's issue 3979: it must not come back unseen."""
    reduced = parity.outcomes[Case(STAGE_WORLD, dtype="bf16")]
    alone = parity.outcomes[Case(1, dtype="bf16")]
    for number in STATES:
        right = alone.steps[number].gradients
        assert distance(reduced.steps[number].gradients, right) < 1e-6
        assert distance(parity.outcomes[UNREDUCED].steps[number].gradients, right) > 0.1


def test_memory_is_that_of_the_formula(parity: Reduced) -> None:
    found = list(memory_checks(parity.weights))
    assert len(found) == len(STAGES)
    assert all(abs(check.value) <= check.most for check in found), found


@pytest.mark.parametrize(
    ("stage", "wanted"),
    [
        (0, {"all_reduce float32": 4}),
        (1, {"all_reduce float32": 4, "all_gather_into_tensor bfloat16": 2}),
        (2, {"all_reduce float32": 4, "all_gather_into_tensor bfloat16": 2}),
        (3, {"reduce_scatter_tensor float32": 4, "all_gather_into_tensor bfloat16": 2}),
    ],
)
def test_bytes_sent_per_parameter(stage: int, wanted: Mapping[str, int], parity: Reduced) -> None:
    """Gradients in fp32, weights in bf16; nothing else of any size."""
    facts = parity.weights[weighed_cases()[stage]].facts
    sent = {name: size / facts["parameters"] for name, size in facts["payload_bytes"].items()}
    assert {name: size for name, size in sent.items() if size > 0.01} == pytest.approx(
        wanted, rel=0.01
    )


@pytest.mark.parametrize("stage", STAGES)
def test_forecasts_reckon_with_the_bytes_that_were_sent(stage: int, parity: Reduced) -> None:
    facts = parity.weights[weighed_cases()[stage]].facts
    exchange = Exchange(facts["parameters"], stage, slots=1, weight_bytes=2)
    assert facts["ring_bytes"] == pytest.approx(exchange.sent_bytes(STAGE_WORLD), rel=0.01)


@pytest.mark.parametrize("ranks", [1, 2, 64])
def test_formula_is_zeros(ranks: int) -> None:
    cases = [Case(ranks, stage, "bf16", accumulates=False) for stage in STAGES]
    assert [formula_bytes_per_parameter(case) for case in cases] == [
        16,
        4 + 12 / ranks,
        2 + 14 / ranks,
        16 / ranks,
    ]


def test_a_trend_is_told_from_noise() -> None:
    falling = {1: [57.0, 56.0, 58.0], 2: [52.0, 52.0, 53.0], 4: [48.0, 46.0, 48.0]}
    steady = {1: [57.0, 56.0, 58.0], 2: [56.0, 57.0, 57.0], 4: [57.0, 56.5, 57.5]}
    assert trend(falling)["change_from_first_to_last"] < -8 and trend(falling)["p"] < 0.01
    assert abs(trend(steady)["change_from_first_to_last"]) < 1 and trend(steady)["p"] > 0.01
    assert trend({1: [57.0, 56.0], 2: [57.0, 56.0]}) == {"change_from_first_to_last": 0, "p": 1}
