"""Steps on many ranks: by hand, and what must hold of any of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import load
from pipeline.config.schema import Config
from pipeline.plan import make_plan
from pipeline.plan.network import Link, Network
from pipeline.plan.scaling import Machine, forecast_step
from pipeline.plan.traffic import exchange_of

ROOT = Path(__file__).resolve().parents[2]
NETWORK = Network(Link(300e9, 0.0), Link(40e9, 0.0))
MACHINE = Machine(4000.0, NETWORK, 8, memory_bytes_per_second=4e12)
PARAMETERS = 73_473_448


def config_of(**sections: dict[str, object]) -> Config:
    return Config.model_validate(sections)


def test_one_slot_hides_what_fits_behind_the_backward_pass() -> None:
    config = config_of(train={"global_batch": 4096, "micro_batch": 64})
    plan = make_plan(config, 64, 1_281_167, 50_000)
    exchange = exchange_of(config, plan, PARAMETERS)
    step = forecast_step(config, plan, exchange, MACHINE)
    assert (step.nodes, step.slots, step.compute_s) == (8, 1, 0.016)
    reduce_s = 2 * 4 * PARAMETERS * 63 / 64 / 40e9
    gather_s = 2 * PARAMETERS * 63 / 64 / 40e9
    assert step.exchange_s == pytest.approx(reduce_s + gather_s)
    # Five buckets: four fifths of the backward pass are there to hide them.
    hidden_s = 0.016 * 2 / 3 * 4 / 5
    assert step.exposed_s == pytest.approx(reduce_s - hidden_s + gather_s)
    assert step.update_s == pytest.approx(PARAMETERS * 30 / 64 / 4e12)
    assert step.step_s == pytest.approx(0.016 + step.update_s + step.exposed_s)
    assert step.efficiency == pytest.approx(0.016 / step.step_s)
    assert step.hours == pytest.approx(96_720 * step.step_s / 3600)
    assert step.rank_hours == pytest.approx(64 * step.hours)


def test_what_is_hidden_whole_leaves_the_last_bucket() -> None:
    config = config_of(train={"global_batch": 65536, "micro_batch": 1024})
    plan = make_plan(config, 64, 1_281_167, 50_000)
    exchange = exchange_of(config, plan, PARAMETERS)
    step = forecast_step(config, plan, exchange, MACHINE)
    reduce_s, gather_s = (4 * n * PARAMETERS * 63 / 64 / 40e9 for n in (2, 0.5))
    assert step.exposed_s == pytest.approx(reduce_s / 5 + gather_s)


def test_several_slots_hide_nothing_and_idle_ones_cost_as_much() -> None:
    config = config_of(train={"global_batch": 640, "micro_batch": 64})
    plan = make_plan(config, 8, 10_000, 100)
    step = forecast_step(config, plan, exchange_of(config, plan, PARAMETERS), MACHINE)
    assert (step.slots, step.idle_slots, step.compute_s) == (2, 6, 0.032)
    assert step.exposed_s == step.exchange_s > 0
    assert step.efficiency < 10 / 16
    # Each of both gradients in bf16 is read, and the fp32 sum read and written.
    assert step.update_s == pytest.approx(PARAMETERS * (30 / 8 + 2 * 10) / 4e12)


def test_one_rank_is_what_was_measured() -> None:
    settings = ["augment.img_size=64", "device=cpu", "engine.dtype=fp32", "train.global_batch=64"]
    config = load(ROOT / "configs/s12.yaml", settings).config
    plan = make_plan(config, 1, 1_281_167, 50_000)
    alone = Machine(98.7, NETWORK, 1, memory_bytes_per_second=None)
    step = forecast_step(config, plan, exchange_of(config, plan, PARAMETERS), alone)
    assert (step.efficiency, step.exchange_s, step.sent_bytes) == (pytest.approx(1.0), 0.0, 0.0)
    assert step.images_per_second == pytest.approx(98.7)


@given(
    nodes=st.integers(1, 8),
    stage=st.sampled_from([1, 2, 3]),
    micro_batches=st.integers(64, 256),
    device=st.sampled_from(["cpu", "cuda"]),
)
def test_efficiency_is_a_share_and_better_machines_help(
    nodes: int, stage: int, micro_batches: int, device: str
) -> None:
    train = {"global_batch": 4 * micro_batches, "micro_batch": 4}
    config = config_of(train=train, engine={"zero_stage": stage}).model_copy(
        update={"device": device}
    )
    plan = make_plan(config, 8 * nodes, 100_000, 100)
    exchange = exchange_of(config, plan, PARAMETERS)
    step = forecast_step(config, plan, exchange, MACHINE)
    assert 0 < step.efficiency < 1
    assert step.exposed_s <= step.exchange_s * (1 + 1e-12)
    # Slower computing only makes the network matter less.
    slower = forecast_step(config, plan, exchange, replace(MACHINE, images_per_second=1000.0))
    assert slower.efficiency >= step.efficiency and slower.step_s > step.step_s
    finer = replace(exchange, reduction_bytes=2)
    assert forecast_step(config, plan, finer, MACHINE).step_s < step.step_s
