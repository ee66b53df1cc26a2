"""The meter: means over steps, tolerated skips, and the two ways to diverge."""

import math
from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch

from pipeline.checkpoint import Progress
from pipeline.collective import Collective, connect
from pipeline.config.schema import Config
from pipeline.data.batches import Step
from pipeline.engine import StepResult
from pipeline.errors import DivergedError
from pipeline.models.cost import training_flops
from pipeline.plan import make_plan
from pipeline.train.meter import Meter
from pipeline.train.utilisation import share_of_peak
from pipeline.world import World

CONFIG = Config.model_validate({"train": {"global_batch": 4, "micro_batch": 2}})


@pytest.fixture
def collective() -> Iterator[Collective]:
    group = connect(World(), "cpu", 30)
    yield group
    group.close()


def meter_of(collective: Collective, progress: Progress) -> Meter:
    plan = make_plan(CONFIG, 1, 100, 10)
    return Meter(CONFIG, plan, collective, torch.device("cpu"), progress)


def fed(collective: Collective, losses: list[tuple[float, bool]]) -> tuple[Meter, Progress]:
    """A meter after steps with these losses (of both micro-batches) and skip flags."""
    progress = Progress()
    meter = meter_of(collective, progress)
    for number, (loss, is_skipped) in enumerate(losses):
        result = StepResult(torch.tensor([loss, loss]), torch.tensor(1.0), is_skipped)
        progress = meter.add(progress, Step(number, [], 0.0), result)
    return meter, progress


def test_a_tolerated_skip_leaves_the_mean_of_the_others(collective: Collective) -> None:
    meter, progress = fed(collective, [(2.0, False), (math.nan, True), (4.0, False)])
    assert (progress.step, progress.updates, progress.skipped_in_a_row) == (3, 2, 0)
    metrics, progress = meter.collect(progress, 1e-3)
    assert (metrics["train/loss"], metrics["train/skipped_steps"]) == (3.0, 1.0)
    assert (progress.loss_steps, progress.loss_sums) == (0, ())


def test_nothing_but_skips_has_no_loss(collective: Collective) -> None:
    meter, progress = fed(collective, [(math.nan, True), (math.nan, True)])
    assert "train/loss" not in meter.collect(progress, 1e-3)[0]


def test_a_loss_that_is_not_finite_stops_before_it_is_saved(collective: Collective) -> None:
    meter, progress = fed(collective, [(1.0, False), (math.nan, False)])
    with pytest.raises(DivergedError, match="the loss is not finite at step 2"):
        meter.carry(progress)


def test_resumed_sums_continue_the_interval(collective: Collective) -> None:
    meter, progress = fed(collective, [(1.0, False), (2.0, False)])
    saved = meter.carry(progress)
    after = meter_of(collective, saved)
    last = StepResult(torch.tensor([6.0, 6.0]), None, False)
    progress = after.add(saved, Step(2, [], 0.0), last)
    assert after.collect(progress, 1e-3)[0]["train/loss"] == 3.0


def test_what_waited_for_the_compiler_is_trained_on_but_not_timed(collective: Collective) -> None:
    meter, progress = meter_of(collective, Progress()), Progress()
    speeds = {"perf/img_per_s", "perf/data_wait_pct"}
    for number, has_compiled in enumerate([True, True, False]):
        losses = torch.tensor([float(number), float(number)])
        result = StepResult(losses, torch.tensor(1.0), False, has_compiled)
        progress = meter.add(progress, Step(number, [], 0.0), result)
        metrics, progress = meter.collect(progress, 1e-3)
        assert metrics["train/loss"] == number
        assert speeds <= metrics.keys() if number == 2 else not speeds & metrics.keys()


def test_utilisation_is_that_of_one_rank_and_of_known_gpus_only(collective: Collective) -> None:
    meter, progress = fed(collective, [(1.0, False)])
    assert "perf/mfu" not in meter.collect(progress, 1e-3)[0]
    with patch("pipeline.train.meter.share_of_peak", return_value=0.25):
        meter = meter_of(collective, progress)
    progress = meter.add(progress, Step(1, [], 0.0), StepResult(torch.zeros(2), None, False))
    metrics, _ = meter.collect(progress, 1e-3)
    assert metrics["perf/mfu"] == pytest.approx(0.25 * metrics["perf/img_per_s"])


@pytest.mark.parametrize(("dtype", "peak"), [("bf16", 989.4e12), ("fp32", 66.9e12)])
def test_the_peak_is_that_of_the_device_and_dtype(dtype: str, peak: float) -> None:
    network = {"depths": [1], "dims": [8]}
    config = Config.model_validate(
        {
            "engine": {"dtype": dtype},
            "augment": {"img_size": 32},
            "model": {"num_classes": 10, "metaformer": network},
        }
    )
    with patch("torch.cuda.get_device_name", return_value="NVIDIA H200"):
        share = share_of_peak(config, torch.device("cuda", 0))
    assert share == training_flops(config.model, 32) / peak
    with patch("torch.cuda.get_device_name", return_value="some other GPU"):
        assert share_of_peak(config, torch.device("cuda", 0)) is None
    assert share_of_peak(config, torch.device("cpu")) is None
