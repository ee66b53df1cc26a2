"""``python -m pipeline.train`` whose disk is full from the save of one step to that of another.

$FULL is ``FIRST-LAST``, both of them steps with a checkpoint or between two.
"""

import errno
import os
from pathlib import Path

from pipeline.checkpoint import Checkpoints, Progress
from pipeline.engine import Engine
from pipeline.errors import run_cli
from pipeline.train.__main__ import main

FIRST, LAST = map(int, os.environ["FULL"].split("-"))
save = Checkpoints.save


def crowded_save(self: Checkpoints, engine: Engine, progress: Progress, must: bool = False) -> None:
    filler = self._root.parent / "filler"
    is_full = FIRST <= progress.step <= LAST
    self._collective.on_main(lambda: fill(filler) if is_full else filler.unlink(missing_ok=True))
    save(self, engine, progress, must)


def fill(filler: Path) -> None:
    with filler.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


Checkpoints.save = crowded_save
run_cli(main)
