"""What does not count is named and skipped, what counts is never lost, and pickles stay shut."""

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.checkpoint import Checkpoints
from pipeline.checkpoint import folder as on_disk
from tests.checkpoint.plain_engine import IMAGES, PlainEngine

OLD, NEW = "step-00000001", "step-00000002"


@pytest.fixture
def root(tmp_path: Path, open_checkpoints: Callable, save: Callable) -> Path:
    """Checkpoints of steps 1 and 2."""
    folder = tmp_path / "checkpoints"
    checkpoints = open_checkpoints(folder)
    save(checkpoints, 1)
    save(checkpoints, 2)
    return folder


def restored(checkpoints: Checkpoints) -> int:
    """The step that is taken; all of its state is checked."""
    engine = PlainEngine(0)
    progress = checkpoints.restore(engine, IMAGES)
    assert engine.equals(progress.step)
    return progress.step


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def list_also(folder: Path, name: str) -> None:
    """Put a file's true size and hash on the list."""
    listed = json.loads((folder / "COMMITTED").read_text())
    facts = {"bytes": (folder / name).stat().st_size, "sha256": on_disk._sha256(folder / name)}
    (folder / "COMMITTED").write_text(json.dumps(listed | {name: facts}))


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path):
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (os.mkdir, (str(self._marker),))


def plant_pickle(folder: Path) -> None:
    (folder / "latest.pt").write_bytes(pickle.dumps(Malice(folder.parent.parent / "marker")))
    list_also(folder, "latest.pt")


def link(folder: Path) -> None:
    """The right bytes, but outside."""
    path = folder / "state-00.safetensors"
    path.rename(folder.parent.parent / "elsewhere")
    path.symlink_to(folder.parent.parent / "elsewhere")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "first byte of the state": (
        lambda f: flip(f / "state-00.safetensors", 0),
        "state-00.safetensors differs from its sha256",
    ),
    "last byte of the state": (
        lambda f: flip(f / "state-00.safetensors", -1),
        "state-00.safetensors differs from its sha256",
    ),
    "byte of the buffers": (
        lambda f: flip(f / "buffers.safetensors", -1),
        "buffers.safetensors differs from its sha256",
    ),
    "byte of the progress": (
        lambda f: flip(f / "progress.json", 5),
        "progress.json differs from its sha256",
    ),
    "half a state": (lambda f: cut(f / "state-00.safetensors"), "state-00.safetensors has "),
    "half a list": (lambda f: cut(f / "COMMITTED"), "COMMITTED is damaged (Unterm"),
    "bytes that are no text": (
        lambda f: (f / "COMMITTED").write_bytes(b"\xff\xfe"),
        "COMMITTED is damaged ('utf-8' codec",
    ),
    "a list of nothing": (
        lambda f: (f / "COMMITTED").write_text("[]"),
        "COMMITTED is damaged (no list of a checkpoint's files)",
    ),
    "no state": (
        lambda f: (f / "state-00.safetensors").unlink(),
        "state-00.safetensors is missing",
    ),
    "no buffers": (lambda f: (f / "buffers.safetensors").unlink(), "buffers.safetensors is mis"),
    "no progress": (lambda f: (f / "progress.json").unlink(), "progress.json is missing"),
    "no list": (lambda f: (f / "COMMITTED").unlink(), "COMMITTED is missing"),
    "nothing": (lambda f: [path.unlink() for path in f.iterdir()], "COMMITTED is missing"),
    "a link": (link, "state-00.safetensors is missing"),
    "a pickle on the list": (plant_pickle, "COMMITTED is damaged (latest.pt is no file of a"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_older_one_is_used_and_the_newer_one_named(
    root: Path,
    damage: str,
    open_checkpoints: Callable,
    save: Callable,
    capfd: pytest.CaptureFixture,
) -> None:
    act, reason = DAMAGE[damage]
    act(root / NEW)
    checkpoints = open_checkpoints(root)
    assert restored(checkpoints) == 1
    said = capfd.readouterr().err
    assert said.startswith(f"warning: checkpoint {root / NEW} is skipped: {reason}"), said
    assert said.count("\n") == 1
    assert not (root.parent / "marker").exists()
    # The run comes to the same step again, and its checkpoint takes the broken one's place.
    save(checkpoints, 2)
    assert restored(open_checkpoints(root)) == 2
    assert capfd.readouterr().err == ""
    assert sorted(path.name for path in root.iterdir()) == [OLD, NEW]


@pytest.fixture(scope="module")
def opened() -> set[str]:
    """Files that Python has opened; a hook cannot be taken away again."""
    paths: set[str] = set()
    sys.addaudithook(lambda event, args: paths.add(str(args[0])) if event == "open" else None)
    return paths


def test_a_pickle_beside_a_checkpoint_is_never_opened(
    root: Path, opened: set[str], open_checkpoints: Callable, capfd: pytest.CaptureFixture
) -> None:
    marker = root.parent / "marker"
    planted = [root / NEW / name for name in ("latest.pt", "state-01.safetensors", "progress.pkl")]
    for path in planted:
        path.write_bytes(pickle.dumps(Malice(marker)))
    opened.clear()
    assert restored(open_checkpoints(root)) == 2
    assert str(root / NEW / "COMMITTED") in opened
    assert opened.isdisjoint(map(str, planted))
    assert capfd.readouterr().err == ""
    assert not marker.exists()
    pickle.loads(planted[0].read_bytes())
    assert marker.exists(), "it would have left its mark"


def test_a_half_written_folder_goes(root: Path, open_checkpoints: Callable) -> None:
    half = root / "step-00000003.attempt-0.tmp"
    shutil.copytree(root / NEW, half)
    cut(half / "state-00.safetensors")
    assert restored(open_checkpoints(root)) == 2
    assert not half.exists()


def test_where_all_are_broken_it_starts_anew_and_says_so(
    root: Path, open_checkpoints: Callable, save: Callable, capfd: pytest.CaptureFixture
) -> None:
    for name in (OLD, NEW):
        cut(root / name / "COMMITTED")
    checkpoints = open_checkpoints(root)
    assert checkpoints.restore(PlainEngine(0), IMAGES).step == 0
    assert capfd.readouterr().err.count("is skipped") == 2
    save(checkpoints, 1)
    assert restored(open_checkpoints(root)) == 1


def test_a_broken_old_one_does_not_stop_the_next_save(
    root: Path, open_checkpoints: Callable, save: Callable, capfd: pytest.CaptureFixture
) -> None:
    (root / OLD / "progress.json").unlink()
    checkpoints = open_checkpoints(root, keep_last=1)
    assert restored(checkpoints) == 2
    save(checkpoints, 3)
    assert restored(checkpoints) == 3
    assert f"{root / OLD} is skipped: progress.json is missing" in capfd.readouterr().err
    assert (root / OLD).is_dir(), "what does not count is left as it lies"
    assert not (root / NEW).exists()


def test_a_broken_one_is_never_the_best(
    tmp_path: Path, open_checkpoints: Callable, save: Callable
) -> None:
    """It would push out the one that is."""
    root = tmp_path / "checkpoints"
    checkpoints = open_checkpoints(root, keep_last=3)
    for step, top1 in ((1, 90.0), (2, 80.0), (3, 70.0)):
        save(checkpoints, step, top1=top1)
    flip(root / OLD / "state-00.safetensors", -1)
    checkpoints = open_checkpoints(root, keep_last=1)
    assert restored(checkpoints) == 3
    save(checkpoints, 4, top1=60.0)
    whole = [f.name for f in on_disk.step_folders(root) if on_disk.problem(f) is None]
    assert whole == [NEW, "step-00000004"], "the newest, and the best of those that count"


def test_the_newest_and_the_best_are_kept(
    tmp_path: Path, open_checkpoints: Callable, save: Callable
) -> None:
    checkpoints = open_checkpoints(tmp_path / "checkpoints", keep_last=2)
    for step, top1 in enumerate((50.0, 80.0, 80.0, 60.0, None, 70.0), 1):
        save(checkpoints, step, top1=top1)
    steps = [on_disk.step_of(folder) for folder in on_disk.step_folders(tmp_path / "checkpoints")]
    assert steps == [2, 5, 6]
