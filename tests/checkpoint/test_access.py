"""Folders that this user may not write to, and files that someone else has put there."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dist.nursery import Nursery

SCRIPT = "tests.checkpoint.as_other_user"
# For root nothing is read-only: it becomes another user. Anybody else stays who they are.
USER = 65534 if os.geteuid() == 0 else 0
STRANGER = 12345
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def root(open_checkpoints: Callable, save: Callable) -> Iterator[Path]:
    """Checkpoints of steps 1 and 2, where every user can get to; they are USER's."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "checkpoints"
        checkpoints = open_checkpoints(folder)
        save(checkpoints, 1)
        save(checkpoints, 2)
        if USER:
            give_away(folder, USER)
        yield folder
        folder.chmod(0o755)


def give_away(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid)


def run(nursery: Nursery, root: Path, *words: object) -> tuple[dict, str]:
    ended = nursery.run(1, SCRIPT, root, *words)[0]
    assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout), ended.stderr


def test_a_read_only_folder_is_refused_at_the_start(root: Path, nursery: Nursery) -> None:
    root.chmod(0o555)
    found, _ = run(nursery, root, USER)
    assert found["code"] == 3
    assert found["error"].startswith(
        f"{root}: checkpoints cannot be written there (Permission denied); make it a folder of "
        "this user with room in it, or set runs_root to another one"
    )


def test_a_folder_that_becomes_read_only_costs_no_training(root: Path, nursery: Nursery) -> None:
    found, said = run(nursery, root, USER, 3, "read-only")
    assert found == {"restored": 2, "afterwards": 2}
    assert "checkpoint of step 3 was not written: Permission denied; the last is that of" in said
    assert sorted(path.name for path in root.iterdir()) == ["step-00000001", "step-00000002"]


@needs_root
@pytest.mark.parametrize("name", ["", "COMMITTED", "state-00.safetensors", "extra"])
@pytest.mark.parametrize("user", [0, USER])
def test_a_strangers_file_is_not_trusted(
    root: Path, nursery: Nursery, name: str, user: int
) -> None:
    """Skipped with its reason; the next checkpoint of the same step takes its place."""
    path = root / "step-00000002" / name
    if name == "extra":
        path.write_text("")
    os.chown(path, STRANGER, STRANGER)
    found, said = run(nursery, root, user, 2)
    assert found == {"restored": 1, "afterwards": 2}
    assert f"is skipped: {path.name} belongs to user {STRANGER}, not to the run's" in said
    assert sorted(path.name for path in root.iterdir() if path.suffix != ".tmp") == [
        "step-00000001",
        "step-00000002",
    ]


@needs_root
def test_a_strangers_folder_that_cannot_be_deleted_stays_aside(
    root: Path, nursery: Nursery
) -> None:
    give_away(root / "step-00000002", STRANGER)
    found, said = run(nursery, root, USER, 2)
    assert found == {"restored": 1, "afterwards": 2}, said
    found, said = run(nursery, root, USER, 3)
    assert found == {"restored": 2, "afterwards": 3}
    assert "step-00000002.old.tmp, left by an earlier start, stays: Permission denied" in said
