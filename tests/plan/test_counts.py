"""World-size arithmetic: any world up to M works, and says what it wastes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.plan import due, make_plan, useful_worlds


def config_of(micro_batches: int, **engine: object) -> Config:
    return Config.model_validate(
        {"train": {"global_batch": 4 * micro_batches, "micro_batch": 4}, "engine": engine}
    )


@given(micro_batches=st.integers(1, 64), data=st.data())
def test_every_micro_batch_has_one_rank(micro_batches: int, data: st.DataObject) -> None:
    world = data.draw(st.integers(1, micro_batches))
    plan = make_plan(config_of(micro_batches), world, 10_000, 100)
    parts = [plan.micro_batches_of(rank) for rank in range(world)]
    assert [index for part in parts for index in part] == list(range(micro_batches))
    assert max(len(part) for part in parts) == plan.slots
    assert min(len(part) for part in parts) >= 1
    # The mean over the ranks, scaled, is the mean over the micro-batches.
    scale = plan.loss_scale * plan.gradient_scale
    assert scale / world == pytest.approx(1 / micro_batches, rel=1e-12)
    assert math.frexp(plan.loss_scale)[0] == 0.5
    assert (plan.idle_slots == 0) == (world in useful_worlds(micro_batches))


@given(world=st.integers(1, 9), batches=st.integers(1, 50))
def test_every_evaluation_batch_has_one_rank(world: int, batches: int) -> None:
    plan = make_plan(config_of(16), world, 10_000, batches * 64)
    parts = [plan.eval_batches_of(rank) for rank in range(world)]
    assert sorted(index for part in parts for index in part) == list(range(batches))


def test_more_ranks_than_micro_batches_names_the_remedy() -> None:
    rule = r"9 ranks .* = 8 micro-batches.*use at most 8 ranks or train.micro_batch=2$"
    with pytest.raises(UserError, match=rule):
        make_plan(config_of(8), 9, 10_000, 100)
    make_plan(Config.model_validate({"train": {"global_batch": 32, "micro_batch": 2}}), 9, 99, 9)


def test_data_smaller_than_a_step_is_refused() -> None:
    with pytest.raises(UserError, match="global_batch=32 is more than the 31 training images"):
        make_plan(config_of(8), 1, 31, 10)


def test_stage_0_in_bf16_accumulates_nothing() -> None:
    config = config_of(2, zero_stage=0, dtype="bf16")
    assert make_plan(config, 2, 100, 10).slots == 1
    with pytest.raises(UserError, match=r"engine\.zero_stage=0"):
        make_plan(config, 1, 100, 10)


def test_the_paper_at_64_gpus() -> None:
    plan = make_plan(Config(), 64, 1_281_167, 50_000)
    assert (plan.micro_batches, plan.slots, plan.steps_per_epoch) == (64, 1, 312)
    assert (plan.schedule_epochs, plan.total_steps, plan.lr_peak) == (310, 96_720, 4e-3)


def test_due_is_every_nth_and_the_last() -> None:
    assert [step for step in range(1, 11) if due(step, 4, 10)] == [4, 8, 10]
    assert not any(due(step, None, 10) for step in range(1, 11))
