"""Where a training stops to scale, and whether advice keeps what it promises."""

import pytest

from pipeline.errors import UserError
from pipeline.plan.network import Link, Network
from pipeline.plan.survey import ENOUGH, survey
from tests.plan.situations import situation


def test_it_names_the_first_nodes_under_the_limit() -> None:
    found = survey(situation(), range(1, 65))
    assert [row.nodes for row in found.rows] == list(range(1, 9))
    assert found.unfit is not None and found.unfit.nodes == tuple(range(9, 65))
    assert found.unfit.reason.startswith("72 ranks for")
    assert found.limit is not None
    under = [row for row in found.rows if row.efficiency < ENOUGH]
    assert found.limit.first == under[0].nodes
    full = [row for row in under if not row.idle_slots]
    assert found.limit.first_without_idle_slots == found.limit.nodes == full[0].nodes
    assert found.limit.better_nodes == (1, 2, 4, 8)


def test_a_network_without_limits_has_none_but_idle_slots() -> None:
    endless = Link(1e18, 0.0)
    found = survey(situation(network=Network(endless, endless)), (1, 2, 4, 8))
    assert found.limit is None
    found = survey(situation(network=Network(endless, endless)), range(1, 9))
    assert found.limit is not None and found.limit.first == 3
    assert found.limit.first_without_idle_slots is None


def test_none_that_fits_is_an_error() -> None:
    with pytest.raises(UserError, match=r"72 ranks .* 64 micro-batches"):
        survey(situation(), range(9, 12))


@pytest.mark.parametrize(
    "overrides", [(), ("engine.zero_stage=3",), ("train.micro_batch=32",), ("engine.dtype=fp32",)]
)
def test_each_advice_gives_what_it_says(overrides: tuple[str, ...]) -> None:
    found = survey(situation(*overrides), (1, 2, 3, 4, 8))
    assert found.limit is not None and found.limit.advice
    nodes = found.limit.nodes
    now = next(row for row in found.rows if row.nodes == nodes)
    efficiencies = [advice.efficiency for advice in found.limit.advice]
    assert efficiencies == sorted(efficiencies, reverse=True)
    assert min(efficiencies) > now.efficiency
    settings = [one for one in found.limit.advice if one.kind in ("setting", "recipe")]
    assert settings
    for advice in settings:
        words = advice.change.partition(": ")[0].split()
        made = situation(*overrides, *words, nodes=nodes).forecast()
        assert (made.efficiency, made.step_s) == (advice.efficiency, advice.step_s)


def test_idle_slots_are_filled_by_smaller_micro_batches() -> None:
    # 16 ranks for 24 micro-batches: two slots each, of which 8 are idle.
    endless = Link(1e18, 0.0)
    start = situation("train.global_batch=1536", network=Network(endless, endless), nodes=2)
    found = survey(start, (2,))
    assert found.limit is not None
    best = found.limit.advice[0]
    assert best.change.startswith("train.micro_batch=96: one micro-batch per rank")
    assert "train.micro_batch=48: no slot is idle" in [one.change for one in found.limit.advice]


def test_what_does_not_fit_into_the_memory_is_no_advice() -> None:
    slow = Network(Link(380e9, 3e-6), Link(1e9, 14e-6))

    def changes(batch: int) -> set[str]:
        found = survey(situation(f"train.global_batch={batch}", network=slow), (4,))
        assert found.limit is not None
        return {one.change.partition(":")[0] for one in found.limit.advice}

    assert "train.micro_batch=512" in changes(16384)
    # 1,024 images are 165 GB of activations, and an H200 has 141.
    assert "train.micro_batch=1024" not in changes(32768)
