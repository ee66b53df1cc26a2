"""The state of a training moves to another engine, under every ZeRO stage that DeepSpeed allows.

That the stages and the worlds train alike is for test_parity and test_worlds to say.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "state_moves.py"
ACCUMULATING = [
    *(f"{stage}-fp32-8-48" for stage in (0, 1, 2, 3)),
    *(f"{stage}-bf16-8-48" for stage in (1, 2, 3)),
]
# bf16 at stage 0 takes one micro-batch per rank only.
SINGLE = ["0-fp32-24-48", *(f"{stage}-bf16-24-48" for stage in (0, 1, 2, 3))]
# Four ranks for six micro-batches leave two slots empty.
CASES = {2: ACCUMULATING + SINGLE, 4: ["1-fp32-8-48", "3-fp32-8-48", "1-bf16-8-48"]}


@pytest.mark.parametrize("world", CASES)
def test_state_moves_bit_equal(world: int, run_ranks: Callable[..., list[str]]) -> None:
    for stdout in run_ranks(world, SCRIPT, *CASES[world]):
        outcome = json.loads(stdout.strip().splitlines()[-1])
        assert outcome == dict.fromkeys(CASES[world], True)
