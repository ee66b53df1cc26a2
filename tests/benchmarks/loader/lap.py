"""One contestant in a process of its own; contest.py starts it and reads its last line, JSON.

python lap.py NAME FOLDER ready                     versions, or the package that is not installed
python lap.py NAME FOLDER lap WARM_UP MEASURED      what MEASURED batches after WARM_UP cost
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[0] = str(Path(__file__).resolve().parents[3])

import psutil

from tests.benchmarks.loader.contestants import CONTESTANTS, Contestant
from tests.benchmarks.loader.material import BATCH, SIDE, Material

if TYPE_CHECKING:
    from torch import Tensor


def main() -> None:
    name, folder, action, *numbers = sys.argv[1:]
    contestant, material = CONTESTANTS[name], Material(Path(folder))
    if action == "ready":
        answer = ready(contestant, material)
    else:
        warm_up, measured = map(int, numbers)
        answer = lap(contestant.batches(material), warm_up, measured)
    print(json.dumps(answer), flush=True)
    # Some libraries' threads and workers take long to end, or wait for a consumer for ever.
    os._exit(0)


def ready(contestant: Contestant, material: Material) -> dict[str, Any]:
    """Versions of what the contestant needs; its own form of the photographs is written."""
    versions: dict[str, str] = {}
    for package in contestant.packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            return {"not_installed": package}
    return {"versions": versions, "written_bytes": contestant.write(material)}


def lap(batches: "Iterator[Tensor | int]", warm_up: int, measured: int) -> dict[str, float]:
    """From the arrival of batch ``warm_up`` to that of ``measured`` more: time, and CPU time."""
    for _ in range(warm_up):
        check(next(batches))
    cpu_began, began = cpu_seconds(), time.perf_counter()
    for _ in range(measured):
        check(next(batches))
    ended, cpu_ended = time.perf_counter(), cpu_seconds()
    return {"seconds": ended - began, "cpu_seconds": cpu_ended - cpu_began}


def cpu_seconds() -> float:
    """Spent so far by this process and its workers, which live as long as it does."""
    process = psutil.Process()
    family = [process, *process.children(recursive=True)]
    return sum(times.user + times.system for times in (one.cpu_times() for one in family))


def check(batch: "Tensor | int") -> None:
    """A batch of whole images of the right size, or the number of images decoded."""
    if isinstance(batch, int):
        assert batch == BATCH
        return
    shape = tuple(batch.shape)
    assert shape in ((BATCH, 3, SIDE, SIDE), (BATCH, SIDE, SIDE, 3)), shape


if __name__ == "__main__":
    main()
