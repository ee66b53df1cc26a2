"""Dies by SIGKILL at the N-th file operation of a save; run in the nursery.

every FOLDER                one rank, every operation in turn; prints [[operation, step], ...]
die FOLDER RANK NUMBER      of several ranks, the one at its operation of that number
resume FOLDER               restore, check, and save again; prints the step
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.checkpoint import Checkpoints, Progress
from pipeline.checkpoint import folder as on_disk
from pipeline.collective import Collective, connect
from pipeline.config.schema import CheckpointConfig
from pipeline.tracking.tracker import SilentTracker
from pipeline.world import from_environment
from tests.checkpoint.plain_engine import IMAGES, PlainEngine

OLD, NEW, NEXT = 2, 3, 4
"""Steps before the save that dies, of it, and after it. Step 1 is what the save deletes."""
OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


class Death:
    """Counts file operations and ends the process at one of them."""

    def __init__(self, number: int, note: Path):
        self._left, self._note = number, note
        sys.addaudithook(self._hook)
        os.fsync = self._before(os.fsync)
        on_disk.save_file = self._before(on_disk.save_file)
        self.is_armed = False

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        # Opened for reading, nothing changes: that moment is the next operation's.
        if event in OPERATIONS and (event != "open" or args[2] & (os.O_WRONLY | os.O_RDWR)):
            self._reach(event)

    def _before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__

        def reached(*args: Any) -> Any:
            if name == "fsync" and os.path.isfile(f"/proc/self/fd/{args[0]}"):
                # What was not synced may be there in part.
                self._reach("half written", lambda: _halve(Path(f"/proc/self/fd/{args[0]}")))
            self._reach(name)
            return function(*args)

        return reached

    def _reach(self, name: str, last_action: Callable[[], None] | None = None) -> None:
        if not self.is_armed:
            return
        self._left -= 1
        if self._left == 0:
            self.is_armed = False
            self._note.write_text(name)
            if last_action is not None:
                last_action()
            os.kill(os.getpid(), signal.SIGKILL)


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def opened(folder: Path) -> tuple[Checkpoints, Collective]:
    collective = connect(from_environment(), "cpu", 60)
    config = CheckpointConfig(keep_last=2)
    return Checkpoints(folder, collective, config, SilentTracker()), collective


def progress_of(step: int) -> Progress:
    return Progress(step=step, updates=step)


def die(folder: Path, rank: int, number: int) -> None:
    checkpoints, collective = opened(folder)
    engine = PlainEngine(0)
    assert checkpoints.restore(engine, IMAGES).step == OLD and engine.equals(OLD)
    engine.fill(NEW)
    death = Death(number, folder.with_name(f"{folder.name}.operation"))
    death.is_armed = collective.world.rank == rank
    checkpoints.save(engine, progress_of(NEW))
    death.is_armed = False


def resume(folder: Path) -> int:
    """The step that is there after a death; all of it is checked, and so is the next save."""
    checkpoints, _ = opened(folder)
    assert not list(folder.glob("*.tmp")), "leftovers go at the start"
    broken = {path for path in on_disk.step_folders(folder) if on_disk.problem(path) is not None}
    assert all((path / on_disk.COMMITTED).read_text() == "{}" for path in broken), "none is new"
    engine = PlainEngine(0)
    found = checkpoints.restore(engine, IMAGES)
    assert found == progress_of(found.step) and engine.equals(found.step), found
    engine.fill(NEXT)
    checkpoints.save(engine, progress_of(NEXT), must=True)
    assert checkpoints.restore(again := PlainEngine(0), IMAGES).step == NEXT
    assert again.equals(NEXT)
    kept = [path for path in on_disk.step_folders(folder) if path not in broken]
    assert [on_disk.problem(path) for path in kept] == [None, None], "the newest two"
    return found.step


def every(base: Path) -> list[tuple[str, int]]:
    """Die at each operation of a save into a copy of ``base``, until one lives to its end."""
    found: list[tuple[str, int]] = []
    number = 1
    while True:
        folder = base.with_name(f"{base.name}-{number}")
        shutil.copytree(base, folder)
        code = in_child(lambda folder=folder, number=number: die(folder, 0, number))
        if code == 0:
            return found
        assert code == -signal.SIGKILL, code
        operation = folder.with_name(f"{folder.name}.operation").read_text()
        step = in_child(lambda folder=folder: resume(folder))
        assert step in (OLD, NEW), f"killed at {number}, {operation}: exit code {step}"
        found.append((operation, step))
        shutil.rmtree(folder)
        number += 1


def in_child(action: Callable[[], int | None]) -> int:
    """What the action returns, as an exit code; minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = 100
        try:
            code = action() or 0
        except BaseException:  # noqa: BLE001 (shown, and seen by its code)
            sys.excepthook(*sys.exc_info())
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(what: str, folder: str, *numbers: str) -> None:
    if what == "every":
        print(json.dumps(every(Path(folder))))
    elif what == "die":
        die(Path(folder), *map(int, numbers))
    else:
        print(resume(Path(folder)))


main(*sys.argv[1:])
