"""A collective of one rank, and folders with checkpoints in them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.checkpoint import Checkpoints, Progress
from pipeline.collective import Collective, connect
from pipeline.config.schema import CheckpointConfig
from pipeline.tracking.tracker import SilentTracker
from pipeline.world import World
from tests.checkpoint.plain_engine import PlainEngine

Open = Callable[..., Checkpoints]


@pytest.fixture(scope="module")
def alone() -> Iterator[Collective]:
    collective = connect(World(), "cpu", 60)
    yield collective
    collective.close()


@pytest.fixture
def open_checkpoints(alone: Collective, tmp_path: Path) -> Open:
    """Those in ``folder``, as a launch opens them; settings are CheckpointConfig's."""

    def open_there(folder: Path = tmp_path / "checkpoints", **settings: object) -> Checkpoints:
        return Checkpoints(
            folder, alone, CheckpointConfig.model_validate(settings), SilentTracker()
        )

    return open_there


@pytest.fixture
def save() -> Callable[..., None]:
    """Save a checkpoint whose content its step says."""

    def save_one(checkpoints: Checkpoints, step: int, must: bool = False, **facts: object) -> None:
        progress = Progress(step=step, updates=step, **facts)  # type: ignore[arg-type]
        checkpoints.save(PlainEngine(step), progress, must)

    return save_one
