"""The same config is the same training on any number of ranks: the harness on few of them."""

import pytest
import torch

from tests.benchmarks.parity.cases import Case
from tests.benchmarks.parity.reduced import ROWS, STATES, WORLDS, Reduced

# Beside one rank, two and three: mixup, cutmix, erasing and drop path are on in every row, and
# of the uneven row's ten micro-batches three ranks leave two slots empty.
WHAT = {
    "micro-batches unlike": 1,
    "losses unlike": len(STATES),
    "logits unlike": len(STATES),
    "gradients beside": len(STATES),
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("what", WHAT)
def test_no_world_changes(what: str, dtype: str, row: str, parity: Reduced) -> None:
    kind = f"{what} other worlds, {dtype}"
    names = [Case(world, dtype=dtype, row=row).name for world in WORLDS[1:]]
    found = [c for c in parity.checks() if c.kind == kind and c.case.split()[0] in names]
    assert len(found) == WHAT[what] * len(names)
    assert all(check.holds for check in found), found


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_running_statistics_are_the_same_to_the_last_bit(dtype: str, parity: Reduced) -> None:
    kind = f"running statistics unlike other worlds, {dtype}"
    found = [check for check in parity.checks() if check.kind == kind]
    assert len(found) == len(STATES) * len(WORLDS[1:])
    assert all(check.holds for check in found), found


def test_the_random_parts_are_really_on(parity: Reduced) -> None:
    """Steps that differ from each other, and micro-batches within them."""
    for row in ROWS:
        table = parity.plain[row].digests
        assert len(torch.unique(table)) == table.numel(), row
