"""As user UID, open the checkpoints in FOLDER, restore, and save STEP, where there is one.

as_other_user FOLDER UID [STEP] [read-only]; prints JSON on stdout. UID 0 is whoever runs it.
"""

import json
import os
import sys
from pathlib import Path

from pipeline.checkpoint import Checkpoints, Progress
from pipeline.collective import connect
from pipeline.config.schema import CheckpointConfig
from pipeline.errors import PipelineError
from pipeline.tracking.tracker import SilentTracker
from pipeline.world import World
from tests.checkpoint.plain_engine import IMAGES, PlainEngine


def main(folder: Path, uid: int, step: int | None = None, how: str = "") -> None:
    collective = connect(World(), "cpu", 60)
    if uid:
        os.setgid(uid)
        os.setuid(uid)
    engine = PlainEngine(0)
    try:
        checkpoints = Checkpoints(folder, collective, CheckpointConfig(), SilentTracker())
        restored = checkpoints.restore(engine, IMAGES).step
        if how == "read-only":
            folder.chmod(0o555)
        if step is not None:
            checkpoints.save(PlainEngine(step), Progress(step=step, updates=step))
        folder.chmod(0o755)
        again = checkpoints.restore(engine, IMAGES).step
    except PipelineError as error:
        print(json.dumps({"code": error.exit_code, "error": str(error)}))
        return
    assert engine.equals(again)
    print(json.dumps({"restored": restored, "afterwards": again}))


main(Path(sys.argv[1]), int(sys.argv[2]), *map(int, sys.argv[3:4]), *sys.argv[4:])
