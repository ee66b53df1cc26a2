"""SIGKILL at random moments of steps, evaluations and saving leaves no trace in a training."""

import random
from pathlib import Path

import pytest

from tests.dist.kill_rounds import Rounds, curve, kill_rounds, unbroken
from tests.dist.nursery import Nursery
from tests.dist.small_training import small_training

KILLS = 21
SEED = 0


@pytest.fixture(scope="module")
def rounds(
    nursery: Nursery, digit_shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Rounds:
    runs = tmp_path_factory.mktemp("runs")

    def arguments(name: str) -> list[object]:
        return small_training(
            name,
            runs,
            digit_shards,
            "checkpoint.every_steps=3",
            "tracking.every_steps=2",
            "optim.model_ema_decay=0.9",
            "model.metaformer.norm=batch_norm",
        )

    durations = unbroken(nursery, 2, arguments("unbroken"), runs / "durations.json")
    points = curve(runs / "unbroken")
    assert sorted(points["train/loss"]) == [2, 4, 6, 8, 10, 12, 14]
    assert sorted(points["val/top1"]) == sorted(points["val/ema_top1"]) == [8, 14]
    rng = random.Random(SEED)
    return kill_rounds(nursery, 2, arguments, runs, runs / "unbroken", durations, rng, KILLS)


def test_the_kills_leave_no_trace(rounds: Rounds) -> None:
    """Masters, both moments, the average, BatchNorm's statistics, progress and every curve."""
    assert rounds.finished >= 2
    assert rounds.differences == []


def test_the_kills_hit_every_phase(rounds: Rounds) -> None:
    assert rounds.hits.total() >= KILLS - 1
    assert min(rounds.hits[phase] for phase in ("step", "evaluation", "saving")) >= 3, rounds.hits
    assert len(set(rounds.resumed_after)) >= 3, "they went on from different checkpoints"
