"""Training with our kernels: under every ZeRO stage, recomputed, and from a checkpoint's state."""

import json
from typing import Any

import pytest

pytest.importorskip("triton")

from tests.dist.nursery import Nursery

# Two ranks of one image each.
CASES = [f"{stage}-fp32-1-2" for stage in range(4)]
PYTORCH, RECOMPUTED = "1-fp32-1-2:torch:kept", "3-fp32-1-2:triton:recomputed"
RESUMED = "1-bf16-1-1:triton:resumed"


def findings(nursery: Nursery, world: int, *words: str) -> dict[str, Any]:
    told = nursery.results(
        world, "tests.dist.kernel_checks", *words, env={"TRITON_INTERPRET": "1"}, timeout_s=240
    )
    first, *others = (json.loads(stdout.strip().splitlines()[-1]) for stdout in told)
    assert all(other == first for other in others), "all ranks know all losses and logits"
    return first


@pytest.fixture(scope="module")
def outcomes(nursery: Nursery) -> dict[str, list[float]]:
    return findings(nursery, 2, *(f"{case}:triton:kept" for case in CASES), PYTORCH, RECOMPUTED)


def test_losses_and_predictions_are_those_of_pytorch(outcomes: dict[str, list[float]]) -> None:
    expected = outcomes[PYTORCH]
    assert len(set(expected)) > 10
    for case in CASES:
        assert outcomes[f"{case}:triton:kept"] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_recomputing_gives_the_same_bits(outcomes: dict[str, list[float]]) -> None:
    assert outcomes[RECOMPUTED] == outcomes["3-fp32-1-2:triton:kept"]


def test_another_engine_goes_on_with_the_same_bits(nursery: Nursery) -> None:
    assert findings(nursery, 1, RESUMED) == {RESUMED: True}
