"""Stops that Slurm announces: the same run goes on, and no step is lost."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tracking.journal import read_journal
from pipeline.tracking.run_folder import RunFolder, read_run_info
from slurm.records import read_faults
from tests.slurm.chaos.faults import KINDS
from tests.slurm.chaos.findings import journal_flaws
from tests.slurm.chaos.run import launch
from tests.slurm.chaos.scene import Scene, Start, read_starts
from tests.slurm.chaos.training import Training
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm

GOES_ON_S = 180


@pytest.fixture(scope="module")
def scene(
    cluster: Cluster, digit_shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """On two nodes, with a limit of five minutes; it saves where it is stopped, and only there."""
    work = tmp_path_factory.mktemp("preempted")
    training = Training(digit_shards, 100_000, micro_batches=2, checkpoint_steps=100_000)
    words = [
        *training.settings("preempted", work / "runs"),
        *("checkpoint.every_epochs=2000", "evaluate.every_epochs=2000"),
        *("engine.cpu_tasks=1", "tracking.uri=journal", "--nodes", "2", "--time", "5"),
    ]
    job = launch(cluster, words, work)
    scene = Scene(cluster, RunFolder(work / "runs/preempted"), job, random.Random(0))
    yield scene
    cluster.run("scancel", job)
    cluster.wait(job)


@pytest.fixture(scope="module")
def stopped(scene: Scene) -> dict[str, int]:
    """The steps done when each stop had been got over."""
    return {
        # As soon as there is a rank, which imports by then.
        "signal": stop(scene, "signal", waits=False),
        # Before it trains again: the warning may come half a minute later.
        "limit": stop(scene, "limit"),
        "preempt": stop(scene, "preempt"),
    }


def stop(scene: Scene, kind: str, waits: bool = True) -> int:
    deadline = time.monotonic() + GOES_ON_S
    KINDS[kind].inject(scene)
    while waits and not scene.journal.goes_on_after(scene.hit_attempt):
        assert scene.look() and time.monotonic() < deadline, scene.logs()
    return scene.journal.step


def starts(scene: Scene) -> list[Start]:
    return read_starts((scene.folder.logs / f"{scene.job}_0_log.err").read_text())


def test_no_step_is_lost_or_repeated(scene: Scene, stopped: dict[str, int]) -> None:
    assert 0 == stopped["signal"] < stopped["limit"] < stopped["preempt"]
    done = {attempt: step for attempt, step, _ in scene.journal.starts}
    trained = [start for start in starts(scene) if start.resumed_after is not None]
    assert len(trained) >= 3
    assert [start.resumed_after for start in trained] == [done[s.attempt] for s in trained]
    records = read_journal(scene.folder.journal).records
    assert journal_flaws(records, scene.journal.update().step) == []


def test_a_rank_without_handlers_dies_of_the_signal_and_starts_again(
    scene: Scene, stopped: dict[str, int]
) -> None:
    """Whether it has them by then is chance; later stops are no faults."""
    assert len(starts(scene)) >= 4
    faults = read_faults(scene.folder)
    assert [fault.kind for fault in faults] in ([], ["killed"])
    assert all(fault.step == 0 and fault.action == "requeued" for fault in faults)


def test_it_stays_one_run(scene: Scene, stopped: dict[str, int]) -> None:
    """What names it in MLflow was settled by the first start."""
    created_s = read_run_info(scene.folder.path)["created_ms"] / 1000
    assert created_s <= scene.journal.starts[0][2] < scene.journal.starts[-1][2]
    assert [path.name for path in scene.folder.path.parent.iterdir()] == ["preempted"]
    assert scene.journal.end is None, "it trains"
