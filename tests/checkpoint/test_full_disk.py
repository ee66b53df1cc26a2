"""A disk that fills up costs a checkpoint and no training; there is never half of one."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.checkpoint import folder as on_disk
from pipeline.errors import PipelineError
from pipeline.tracking.journal import Journal, read_journal
from tests.checkpoint.plain_engine import IMAGES, PlainEngine
from tests.dist.kill_rounds import curve
from tests.dist.nursery import Nursery
from tests.dist.small_training import small_training

PAGE = 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 4 MiB in the place of a run's folder, which only root can mount."""
    folder = tmp_path / "run"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, pages_left: int) -> Path:
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler = disk / "filler"
    filler.write_bytes(bytes(free - pages_left * PAGE))
    return filler


def test_whatever_room_is_left(
    small_disk: Path, open_checkpoints: Callable, save: Callable, capfd: pytest.CaptureFixture
) -> None:
    """State, buffers, progress and list: each of them is the one that does not fit."""
    checkpoints = open_checkpoints(small_disk)
    save(checkpoints, 1)
    refused = 0
    while True:
        filler = fill(small_disk, refused)
        save(checkpoints, 2)
        said = capfd.readouterr().err
        filler.unlink()
        if not said:
            break
        refused += 1
        assert said.startswith("warning: checkpoint of step 2 was not written: "), said
        assert "No space left on device" in said and said.count("\n") == 1
        assert said.endswith("; the last is that of step 1; training goes on\n")
        assert [path.name for path in small_disk.iterdir()] == ["step-00000001"]
        assert checkpoints.restore(engine := PlainEngine(0), IMAGES).step == 1 and engine.equals(1)
    assert refused >= 4
    assert checkpoints.restore(engine := PlainEngine(0), IMAGES).step == 2 and engine.equals(2)


def test_one_that_must_be_written(
    small_disk: Path, open_checkpoints: Callable, save: Callable
) -> None:
    checkpoints = open_checkpoints(small_disk)
    filler = fill(small_disk, 1)
    with pytest.raises(PipelineError, match=r"of step 1 was not .* is none; make room and start"):
        save(checkpoints, 1, must=True)
    assert list(small_disk.iterdir()) == [filler]


def test_the_journal_waits_for_room(small_disk: Path, capfd: pytest.CaptureFixture) -> None:
    journal = Journal(small_disk / "journal.jsonl")
    filler = fill(small_disk, 0)
    said = ""
    step = 0
    while not said or step % 10:
        step += 1
        journal.metrics({"train/loss": 1 / step}, step)
        said += capfd.readouterr().err
    assert said.count("journal.jsonl cannot be written (No space left on device); its reco") == 1
    assert len(read_journal(small_disk / "journal.jsonl").records) < step
    filler.unlink()
    journal.end("FINISHED", {})
    journal.close()
    assert capfd.readouterr().err == ""
    chunk = read_journal(small_disk / "journal.jsonl")
    assert chunk.unreadable == 0
    steps = [record["step"] for record in chunk.records if record["kind"] == "metrics"]
    assert steps == list(range(1, step + 1))


@pytest.mark.parametrize("full", ["6-10", "14-14"])
def test_a_training(small_disk: Path, digit_shards: Path, nursery: Nursery, full: str) -> None:
    """From step 6 to 10 it goes on; the last checkpoint must be written, or the run has failed."""
    overrides = ("checkpoint.every_steps=3", "tracking.every_steps=1")
    args = small_training("run", small_disk.parent, digit_shards, *overrides)
    ended = nursery.run(2, "tests.checkpoint.crowded_training", *args, env={"FULL": full})
    codes, said = [rank.code for rank in ended], ended[0].stderr
    root = small_disk / "checkpoints"
    assert not list(root.glob("*.tmp"))
    assert "Traceback" not in said
    if full == "6-10":
        assert codes == [0, 0], said
        for step in (6, 8, 9):
            assert said.count(f"warning: checkpoint of step {step} was not written") == 1
        assert said.count("the last is that of step 3; training goes on") == 3
    else:
        assert codes == [1, 1], said
        assert said.count("error: checkpoint of step 14 was not written") == 1
        assert "the last is that of step 12; make room and start again" in said
        (small_disk / "filler").unlink()
        again = nursery.run(2, "pipeline.train", *args)
        assert "resuming after step 12" in again[0].stderr
        assert [rank.code for rank in again] == [0, 0], again[0].stderr
    folders = on_disk.step_folders(root)
    assert [on_disk.step_of(folder) for folder in folders][-2:] == [12, 14]
    assert [on_disk.problem(folder) for folder in folders] == [None] * len(folders)
    assert sorted(curve(small_disk)["train/loss"]) == list(range(1, 15)), "every step once"
