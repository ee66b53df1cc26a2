"""What a launch says of memory, hours and time slots."""

from pathlib import Path

import pytest

from pipeline.config import Config, load
from pipeline.plan import make_plan
from slurm.submit.forecast import forecast

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "configs"


def config_of(name: str, *overrides: str) -> Config:
    return load(CONFIGS / name, overrides).config


def test_a_gpu_that_nobody_measured_gets_a_lower_bound() -> None:
    config = config_of("m48.yaml")
    expected = forecast(config, make_plan(config, 64, 1_281_167, 50_000), 1440)
    assert expected.images == 96_720 * 4096
    assert expected.rank_hours is None and expected.time_slots is None
    assert expected.basis == "not measured on cuda yet for this model at 224 px"
    assert expected.least_rank_hours == pytest.approx(7.7, abs=0.1)
    assert expected.least_time_slots == 1
    # bf16 weights and gradients, an optimizer's 64th part, two buckets of 2^24 fp32 gradients.
    assert expected.state_bytes == pytest.approx(73_473_448 * (2 + 2 + 12 / 64) + 2**27, rel=1e-6)
    assert expected.activation_bytes == pytest.approx(64 * 161.6e6, rel=1e-3)


def test_fp32_is_reckoned_without_tensor_cores() -> None:
    config = config_of("m48.yaml", "engine.dtype=fp32")
    expected = forecast(config, make_plan(config, 64, 1_281_167, 50_000), 1440)
    assert expected.least_rank_hours == pytest.approx(7.7 * 989.4 / 66.9, rel=0.01)


def test_more_micro_batches_than_ranks_accumulate_in_fp32() -> None:
    config = config_of("m48.yaml")
    one, two = (
        forecast(config, make_plan(config, world, 1_281_167, 50_000), 1440).state_bytes
        for world in (64, 32)
    )
    assert one is not None and two is not None
    assert two - one == pytest.approx(73_473_448 * (4 + 12 / 32 - 12 / 64), rel=1e-6)


def test_hours_and_slots_of_what_was_measured() -> None:
    settings = ["augment.img_size=64", "device=cpu", "train.epochs=10", "optim.cooldown_epochs=0"]
    config = config_of("s12.yaml", *settings)
    plan = make_plan(config, 2, 1_281_167, 50_000)
    expected = forecast(config, plan, 600)
    hours = 10 * 312 * 4096 / 81.9 / 3600
    assert expected.rank_hours == pytest.approx(hours)
    assert "measured on 2 cores" in expected.basis and expected.least_rank_hours is None
    # 600 minutes less two of margin, one of Slurm's clock and two of starting; 64 slots are full.
    assert expected.time_slots == -(-(hours / 2) // (595 / 60))
    half = forecast(config, plan, 600, saved_step=plan.total_steps // 2)
    assert half.rank_hours == pytest.approx(hours / 2)
    assert forecast(config, plan, 600, saved_step=plan.total_steps).images == 0


def test_an_unknown_model_is_said_to_be_one() -> None:
    for setting in ("model.metaformer.depths=[1,1,1,1]", "model.name=resnet50"):
        config = config_of("s12.yaml", setting)
        expected = forecast(config, make_plan(config, 8, 1_281_167, 50_000), 60)
        assert (expected.state_bytes, expected.rank_hours, expected.least_time_slots) == (None,) * 3
        assert expected.basis == "the model is in no table of known ones"
