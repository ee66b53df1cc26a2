"""The recipe's optimizer and schedule, beside what timm's own training script would do."""

import math
from argparse import Namespace
from pathlib import Path

import pytest
import timm
import torch
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler_factory import scheduler_kwargs

from pipeline.config import load
from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.models.build import build_model
from pipeline.optim import Schedule, build_optimizer
from pipeline.plan import make_plan

ROOT = Path(__file__).resolve().parents[1]
IMAGENET = 1_281_167
EPOCHS = 310


@pytest.fixture(scope="module")
def config() -> Config:
    return load(ROOT / "configs/s12.yaml").config


def timms_rates(config: Config, peak: float) -> list[float]:
    """The rate of each epoch in timm's train.py, whose scheduler steps after every epoch."""
    optim = config.optim
    args = Namespace(
        sched=optim.sched,
        epochs=config.train.epochs,
        decay_epochs=90.0,
        decay_milestones=[90, 180, 270],
        warmup_epochs=optim.warmup_epochs,
        warmup_prefix=False,
        cooldown_epochs=optim.cooldown_epochs,
        patience_epochs=10,
        decay_rate=0.1,
        min_lr=optim.min_lr,
        warmup_lr=optim.warmup_lr,
        lr_cycle_mul=1.0,
        lr_cycle_decay=0.5,
        lr_cycle_limit=1,
        lr_k_decay=1.0,
        lr_noise=None,
        lr_noise_pct=0.67,
        lr_noise_std=1.0,
        plateau_mode="max",
        seed=config.seed,
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler, epochs = create_scheduler_v2(optimizer, **scheduler_kwargs(args))
    assert scheduler is not None and epochs == EPOCHS
    rates = []
    for epoch in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step(epoch + 1)
    return rates


@pytest.mark.parametrize("global_batch", [1024, 4096])
def test_the_rate_is_timms_for_all_310_epochs(config: Config, global_batch: int) -> None:
    train = config.train.model_copy(update={"global_batch": global_batch})
    config = config.model_copy(update={"train": train})
    plan = make_plan(config, 16, IMAGENET, 50_000)
    assert plan.lr_peak == pytest.approx(1e-3 * global_batch / 1024)
    schedule = Schedule(config.optim, config.train, plan)
    expected = timms_rates(config, plan.lr_peak)
    assert plan.total_steps == EPOCHS * plan.steps_per_epoch
    for epoch, rate in enumerate(expected):
        first, last = epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch - 1
        assert schedule.lr(first) == schedule.lr(last) == rate, epoch
    assert expected[0] == 1e-6 and max(expected) <= plan.lr_peak
    assert expected[300:] == [1e-5] * 10


def test_the_rate_is_the_papers_formula(config: Config) -> None:
    plan = make_plan(config, 16, IMAGENET, 50_000)
    schedule = Schedule(config.optim, config.train, plan)
    for epoch in range(EPOCHS):
        rate = schedule.lr(epoch * plan.steps_per_epoch)
        if epoch < 5:
            assert rate == pytest.approx(1e-6 + epoch * (plan.lr_peak - 1e-6) / 5)
        else:
            part = 0.5 * (1 + math.cos(math.pi * min(epoch, 300) / 300))
            assert rate == pytest.approx(1e-5 + (plan.lr_peak - 1e-5) * part)


def test_per_update_it_moves_within_an_epoch(config: Config) -> None:
    optim = config.optim.model_copy(update={"sched_on_updates": True})
    config = config.model_copy(update={"optim": optim})
    plan = make_plan(config, 16, IMAGENET, 50_000)
    schedule = Schedule(optim, config.train, plan)
    steps = range(0, 4 * plan.steps_per_epoch, 97)
    rates = [schedule.lr(step) for step in steps]
    for step, rate in zip(steps, rates, strict=True):
        share = step / (5 * plan.steps_per_epoch)
        assert rate == pytest.approx(1e-6 + share * (plan.lr_peak - 1e-6))
    # A resumed run asks for any step first.
    assert schedule.lr(steps[3]) == rates[3]


def test_groups_and_settings_are_the_recipes(config: Config) -> None:
    model = build_model(config.model, 0, 64)
    optimizer = build_optimizer(model, config.optim, 4e-3)
    assert isinstance(optimizer, torch.optim.AdamW)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        expected = 0.05 if parameter.ndim > 1 and not name.endswith("bias") else 0.0
        assert decay[id(parameter)] == expected, name
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (4e-3, (0.9, 0.999), 1e-8)


def test_groups_are_timms(config: Config) -> None:
    """timm's own grouping for its poolformer: one dimension or a bias does not decay."""
    from timm.optim import param_groups_weight_decay

    model = timm.create_model("poolformer_s12")
    names = {id(p): name for name, p in model.named_parameters()}
    theirs = {
        names[id(p)]: g["weight_decay"]
        for g in param_groups_weight_decay(model, 0.05)
        for p in g["params"]
    }
    optimizer = build_optimizer(model, config.optim, 1e-3)
    ours = {names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert ours == theirs


def test_an_unknown_optimizer_is_named(config: Config) -> None:
    optim = config.optim.model_copy(update={"opt": "adamv"})
    with pytest.raises(UserError, match=r"optim\.opt=adamv: timm says"):
        build_optimizer(build_model(config.model, 0, 64), optim, 1e-3)
