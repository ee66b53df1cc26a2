"""A save that dies at any file operation leaves the older or the newer checkpoint, whole."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dist.nursery import Nursery

SCRIPT = "tests.checkpoint.dying_save"
OLD, NEW = 2, 3


@pytest.fixture
def base(tmp_path: Path, open_checkpoints: Callable, save: Callable) -> Path:
    """Checkpoints of steps 1 and 2."""
    folder = tmp_path / "base"
    checkpoints = open_checkpoints(folder)
    save(checkpoints, 1)
    save(checkpoints, OLD)
    return folder


def broken(base: Path) -> None:
    """A folder of step 3 that does not count, in the way of the save."""
    shutil.copytree(base / "step-00000002", base / "step-00000003")
    (base / "step-00000003/COMMITTED").write_text("{}")


@pytest.mark.parametrize("in_the_way", [False, True], ids=["free", "over a broken one"])
def test_one_rank(base: Path, nursery: Nursery, in_the_way: bool) -> None:
    if in_the_way:
        broken(base)
    found = json.loads(nursery.results(1, SCRIPT, "every", base)[0])
    operations, steps = zip(*found, strict=True)
    assert {"open", "os.mkdir", "os.rename", "os.remove", "fsync"} <= set(operations)
    assert {"half written", "save_file", "shutil.rmtree"} <= set(operations)
    assert len(found) >= 25
    # One of them is the commit: before it, it is the older one, and afterwards the newer one.
    assert set(steps) == {OLD, NEW}
    assert list(steps) == sorted(steps)
    assert operations[steps.index(NEW) - 1] == "os.rename"


def test_the_share_of_another_rank(base: Path, nursery: Nursery, tmp_path: Path) -> None:
    """The main rank waits for all shares: none is committed that lacks one."""
    operations = []
    for number in range(1, 10):
        folder = tmp_path / f"two-{number}"
        shutil.copytree(base, folder)
        codes = [rank.code for rank in nursery.run(2, SCRIPT, "die", folder, 1, number)]
        if codes == [0, 0]:
            break
        assert codes[1] == -9 and codes[0] != 0
        operations.append(folder.with_name(f"{folder.name}.operation").read_text())
        assert nursery.results(2, SCRIPT, "resume", folder) == [f"{OLD}\n"] * 2
    assert operations == ["save_file", "half written", "fsync"]
