"""The tracker hears of a best checkpoint when it is committed, also after a kill in between."""

import shutil
from pathlib import Path

import pytest

from pipeline.checkpoint import Checkpoints
from pipeline.checkpoint import folder as on_disk
from pipeline.collective import Collective
from pipeline.config.schema import CheckpointConfig
from pipeline.tracking.tracker import SilentTracker
from tests.checkpoint.plain_engine import IMAGES, PlainEngine


class Listener(SilentTracker):
    """Notes the steps that it is told, of checkpoints that are whole at that moment."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.resumed_after: list[int] = []

    def model(self, step: int, folder: Path) -> None:
        assert on_disk.problem(folder) is None
        assert on_disk.step_of(folder) == step
        if step not in self.told:
            self.told.append(step)

    def resumed(self, step: int) -> None:
        self.resumed_after.append(step)


@pytest.fixture
def launch(alone: Collective, tmp_path: Path):
    """The checkpoints of a launch in the same folder as those before, and who listens to them."""

    def start(**settings: object) -> tuple[Checkpoints, Listener]:
        listener, config = Listener(), CheckpointConfig.model_validate(settings)
        return Checkpoints(tmp_path / "checkpoints", alone, config, listener), listener

    return start


def test_only_the_best_so_far_and_only_evaluated_ones(launch, save) -> None:
    checkpoints, listener = launch(keep_last=1)
    for step, top1, told in (
        (1, None, []),
        (2, 40.0, [2]),
        (3, 40.0, [2]),
        (4, None, [2]),
        (5, 60.0, [2, 5]),
        (6, 50.0, [2, 5]),
    ):
        save(checkpoints, step, top1=top1)
        assert listener.told == told


def test_the_best_one_that_was_saved_need_not_be_the_best_evaluation(launch, save) -> None:
    checkpoints, listener = launch()
    save(checkpoints, 2, top1=40.0, best_top1=70.0, best_step=1)
    assert listener.told == [2]


def test_one_that_is_refused_is_no_model(launch, save, monkeypatch) -> None:
    checkpoints, listener = launch()

    def refused(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(on_disk, "commit", refused)
        save(checkpoints, 1, top1=40.0)
    assert listener.told == []
    save(checkpoints, 2, top1=30.0)
    assert listener.told == [2]


def test_killed_between_commit_and_record_it_is_told_at_the_next_start(
    launch, save, monkeypatch
) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt  # no error that a rank would survive

    checkpoints, listener = launch()
    save(checkpoints, 1, top1=40.0)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_tell", killed)
        with pytest.raises(KeyboardInterrupt):
            save(checkpoints, 2, top1=60.0)
    assert listener.told == [1]
    after, listener = launch()
    after.restore(PlainEngine(0), IMAGES)
    assert listener.told == [2]
    assert listener.resumed_after == [2]


def test_what_is_damaged_does_not_stand_in_the_way_of_a_start(launch, save) -> None:
    checkpoints, _ = launch(keep_last=5)
    for step, top1 in ((1, 40.0), (2, 90.0), (3, 80.0), (4, 50.0)):
        save(checkpoints, step, top1=top1)
    root = checkpoints._root
    (root / on_disk.name_of(2) / "progress.json").write_text('{"step": [')
    shutil.rmtree(root / on_disk.name_of(3))
    (root / on_disk.name_of(3)).mkdir()
    after, listener = launch(keep_last=5)
    assert after.restore(PlainEngine(0), IMAGES).step == 4
    assert listener.told == [4]


def test_a_run_without_checkpoints_has_none(launch) -> None:
    checkpoints, listener = launch()
    checkpoints.restore(PlainEngine(0), IMAGES)
    assert (listener.told, listener.resumed_after) == ([], [0])
