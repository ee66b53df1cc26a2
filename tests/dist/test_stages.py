"""Every ZeRO stage that DeepSpeed allows trains alike, and its state moves to another engine."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "stage_losses.py"
ACCUMULATING = ["0-fp32-8-48", "1-fp32-8-48", "2-fp32-8-48", "3-fp32-8-48", "1-bf16-8-48", "2-bf16-8-48", "3-bf16-8-48"]  # fmt: skip
# bf16 at stage 0 takes one micro-batch per rank only.
SINGLE = ["0-fp32-24-48", "0-bf16-24-48", "1-bf16-24-48", "2-bf16-24-48", "3-bf16-24-48"]
TOLERANCE = {"fp32": 1e-5, "bf16": 1e-2}


def outcomes(run_ranks: Callable[..., list[str]], world: int, cases: list[str]) -> dict:
    stdout = run_ranks(world, SCRIPT, *cases)[0]
    return json.loads(stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def two_ranks(run_ranks: Callable[..., list[str]]) -> dict:
    return outcomes(run_ranks, 2, ACCUMULATING + SINGLE)


@pytest.mark.parametrize(("cases"), [ACCUMULATING, SINGLE], ids=["accumulating", "single"])
def test_stages_agree(cases: list[str], two_ranks: dict) -> None:
    reference = two_ranks[cases[0]]["losses"]
    assert reference[-1] < reference[0] and len(set(reference)) == len(reference)
    for case in cases:
        assert two_ranks[case]["losses"] == pytest.approx(
            reference, abs=TOLERANCE[case.split("-")[1]]
        ), case


@pytest.mark.parametrize("case", ACCUMULATING + SINGLE)
def test_state_moves_bit_equal(case: str, two_ranks: dict) -> None:
    assert two_ranks[case]["continues_equal"]


@pytest.mark.parametrize("world", [1, 4])
def test_worlds_agree(world: int, run_ranks: Callable[..., list[str]], two_ranks: dict) -> None:
    """Four ranks for six micro-batches leave two slots empty: the losses stay the same."""
    cases = ["1-fp32-8-48", "3-fp32-8-48", "1-bf16-8-48"]
    other = outcomes(run_ranks, world, cases)
    for case in cases:
        assert other[case]["continues_equal"], case
        assert other[case]["losses"] == pytest.approx(
            two_ranks[case]["losses"], abs=TOLERANCE[case.split("-")[1]]
        ), case
