"""What torch.compile has done in this process, and its code in a folder for the next one."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.durable import write_file
from pipeline.log import warn


@dataclass(frozen=True)
class Compiled:
    """What torch.compile has done in a process; a pass is forward or backward."""

    graphs: int
    """Forward and backward together are one."""
    passes_compiled: int
    passes_from_cache: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.seconds:.1f} s for {self.graphs} graphs ({self.passes_compiled} passes "
            f"compiled, {self.passes_from_cache} from the cache)"
        )


def compiled_so_far() -> Compiled:
    """Counts of this process; zeros where nothing was compiled."""
    # Imported by the first compilation; by itself it would take seconds.
    utils = sys.modules.get("torch._dynamo.utils")
    if utils is None:
        return Compiled(0, 0, 0, 0.0)
    passes = utils.counters["inductor"]
    return Compiled(
        graphs=utils.counters["stats"]["unique_graphs"],
        passes_compiled=passes["fxgraph_cache_miss"] + passes["fxgraph_cache_bypass"],
        passes_from_cache=passes["fxgraph_cache_hit"],
        seconds=utils.calculate_time_spent()["total_wall_time"],
    )


def load_compiled(folder: Path) -> None:
    """Let this process find what others have compiled, if there is anything in the folder.

    It fills PyTorch's cache on this node, where each entry counts for the same PyTorch, kind of
    GPU and code only. Like the code of a run, the files are executed: they must be the user's own.
    """
    for file in sorted(folder.glob(_FILES)):
        try:
            artifacts = file.read_bytes()
        except OSError as error:
            warn(f"{file} was not read ({error.strerror}): what it holds is compiled anew")
            continue
        if torch.compiler.load_cache_artifacts(artifacts) is None:
            warn(f"{file} is damaged or of another PyTorch: what it holds is compiled anew")


def save_compiled(folder: Path) -> None:
    """Keep what this process has compiled or found in its cache; any node may read it.

    Each call writes a file of its own: of one that was saved in parts PyTorch reads the last
    part alone (2.14). Where the disk refuses, a warning says so.
    """
    artifacts = torch.compiler.save_cache_artifacts()
    if artifacts is None:
        return
    try:
        folder.mkdir(exist_ok=True)
        file = folder / _FILES.replace("*", f"{len(list(folder.glob(_FILES))):03}")
        write_file(file, artifacts[0], survives_power_loss=False)
    except OSError as error:
        warn(f"{folder} was not written ({error.strerror}): the next start compiles anew")


_FILES = "*.bin"
