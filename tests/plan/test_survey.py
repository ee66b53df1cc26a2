"""Where a training stops to scale, and whether advice keeps what it promises."""

from dataclasses import replace

import pytest

from pipeline.errors import UserError
from pipeline.plan.advice import Kind
from pipeline.plan.network import Link, Network
from pipeline.plan.survey import ENOUGH, survey
from tests.plan.situations import situation

KINDS: dict[str, Kind] = {
    "train.micro_batch": "new run",
    "engine.zero_stage": "setting",
    "train.global_batch": "recipe",
}
"""By the first setting of an advice; `train.micro_batch` and others fix a training, see README."""


def test_it_names_the_first_nodes_under_the_limit() -> None:
    found = survey(situation(), range(1, 65))
    assert [row.nodes for row in found.rows] == list(range(1, 9))
    (unfit,) = found.unfit
    assert unfit.nodes == tuple(range(9, 65))
    assert unfit.reason.startswith("512 ranks for")
    # What it says to change lets all of them run.
    remedy = unfit.reason.rpartition(" ")[2]
    assert remedy == "train.micro_batch=8"
    assert survey(situation(remedy), range(1, 65)).unfit == ()
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
    with pytest.raises(UserError, match=r"^88 ranks .* 64 micro-batches"):
        survey(situation(), range(9, 12))


def test_each_reason_is_told_with_its_nodes() -> None:
    first = situation("engine.zero_stage=0", nodes=8)
    accumulating, too_many = survey(first, range(1, 11)).unfit
    assert accumulating.nodes == tuple(range(1, 8))
    assert "use engine.zero_stage=1" in accumulating.reason
    assert too_many.nodes == (9, 10) and too_many.reason.startswith("80 ranks")


def test_a_rate_that_is_a_bound_gets_no_advice() -> None:
    first = situation()
    bound = replace(first, machine=replace(first.machine, is_bound=True))
    seen, unseen = (survey(one, range(1, 9)) for one in (first, bound))
    assert seen.limit is not None and not seen.is_bound
    assert unseen.limit is None and unseen.is_bound
    assert unseen.rows == seen.rows


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
    settings = [one for one in found.limit.advice if one.kind not in ("code", "network")]
    assert settings
    for advice in settings:
        words = advice.change.partition(": ")[0].split()
        names = [word.partition("=")[0] for word in words]
        assert advice.kind == KINDS[names[0]]
        made = situation(*overrides, *words, nodes=nodes).forecast()
        assert (made.efficiency, made.step_s) == (advice.efficiency, advice.step_s)


def test_idle_slots_are_filled_by_smaller_micro_batches() -> None:
    # 16 ranks for 24 micro-batches: two slots each, of which 8 are idle.
    endless = Link(1e18, 0.0)
    start = situation("train.global_batch=1536", network=Network(endless, endless), nodes=2)
    found = survey(start, (2,))
    assert found.limit is not None
    (advice,) = [one for one in found.limit.advice if one.kind == "new run"]
    # As good as 48, 32 and 24, and the largest of them.
    assert advice.change == (
        "train.micro_batch=96: one micro-batch per rank: its reduction overlaps the backward pass"
    )


def test_idle_slots_become_fewer_where_ranks_do_not_divide_the_batch() -> None:
    found = survey(situation(), (3,))
    assert found.limit is not None and found.rows[0].idle_slots == 8
    (advice,) = [one for one in found.limit.advice if one.kind == "new run"]
    assert advice.change == "train.micro_batch=16: 8 of 264 slots idle"
    others = [
        situation(f"train.micro_batch={size}", nodes=3).forecast().efficiency
        for size in (16, 32, 64, 128)
    ]
    assert advice.efficiency == max(others) > found.rows[0].efficiency


def test_what_does_not_fit_into_the_memory_is_no_advice() -> None:
    slow = Network(Link(380e9, 3e-6), Link(1e9, 14e-6))

    def changes(batch: int) -> set[str]:
        found = survey(situation(f"train.global_batch={batch}", network=slow), (4,))
        assert found.limit is not None
        return {one.change.partition(":")[0] for one in found.limit.advice}

    assert "train.micro_batch=512" in changes(16384)
    # 1,024 images are 165 GB of activations, and an H200 has 141.
    assert "train.micro_batch=1024" not in changes(32768)
