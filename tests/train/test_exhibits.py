"""When a run leaves its sheet and its tables."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.checkpoint import Progress, evaluated
from pipeline.config import Config
from pipeline.data.batches import Step
from pipeline.evaluate.scores import Predictions, Scores
from pipeline.plan import make_plan
from pipeline.tracking.tracker import SilentTracker
from pipeline.train import exhibits as exhibits_module
from pipeline.train.exhibits import Exhibits

CONFIG = Config.model_validate({"train": {"global_batch": 4, "micro_batch": 2, "max_steps": 30}})


class Folder(SilentTracker):
    """Keeps what it is handed."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def artifact(self, name: str, content: Callable[[], bytes]) -> None:
        self.files[name] = content()


@pytest.fixture
def folder() -> Folder:
    return Folder()


@pytest.fixture
def exhibits(folder: Folder) -> Exhibits:
    splits = [SimpleNamespace(classes=["cat", "dog", "owl"])] * 2
    return Exhibits(CONFIG, make_plan(CONFIG, 1, 40, 4), splits, folder)


def predictions(*top: int) -> Predictions:
    """Of two cats, a dog and an owl."""
    answers = np.array([[one, (one + 1) % 3, (one + 2) % 3] for one in top])
    return Predictions(Scores(1.0, 50.0, 100.0, 4), np.array([0, 0, 1, 2]), answers)


def test_tables_are_of_the_best_evaluation_and_of_the_last(
    folder: Folder, exhibits: Exhibits
) -> None:
    progress = evaluated(Progress(step=10), 50.0)
    exhibits.answers(predictions(1, 1, 1, 2), progress)
    assert folder.files.keys() == {"confusions.csv", "classes.csv"}
    best = dict(folder.files)
    assert best["confusions.csv"] == b"class,taken for,images\r\ncat,dog,2\r\n"
    assert best["classes.csv"].splitlines()[1:] == [
        b"cat,2,0.0,100.0,dog,2",
        b"dog,1,100.0,100.0,,0",
        b"owl,1,100.0,100.0,,0",
    ]
    progress = evaluated(Progress(step=20, best_top1=50.0, best_step=10), 25.0)
    exhibits.answers(predictions(2, 1, 0, 2), progress)
    assert folder.files == best
    progress = evaluated(Progress(step=30, best_top1=50.0, best_step=10), 25.0)
    exhibits.answers(predictions(2, 1, 0, 2), progress)
    assert {name: folder.files[name] for name in best} == best
    lines = folder.files["last/confusions.csv"].splitlines()
    assert lines == [b"class,taken for,images", b"cat,dog,1", b"cat,owl,1", b"dog,cat,1"]


def test_of_many_confusions_the_most_frequent_are_kept(
    folder: Folder, exhibits: Exhibits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exhibits_module, "MOST_CONFUSIONS", 1)
    exhibits.answers(predictions(1, 1, 0, 2), evaluated(Progress(step=10), 50.0))
    assert folder.files["confusions.csv"].splitlines()[1:] == [b"cat,dog,2"]


def test_a_run_that_goes_on_draws_no_sheet(folder: Folder, exhibits: Exhibits) -> None:
    exhibits.batch(Step(7, [], 0.0))
    assert folder.files == {}
