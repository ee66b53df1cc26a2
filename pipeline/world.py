"""Who this process is among the ranks: the only reader of RANK and SLURM_* variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import UserError


@dataclass(frozen=True)
class World:
    """The place of one process in the job. Counts are processes; ranks start at 0."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    attempt: int = 0
    """How often the scheduler has restarted this job."""
    job_id: str | None = None
    node_name: str = "localhost"

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def node(self) -> int:
        return self.rank // self.local_size

    @property
    def nodes(self) -> int:
        return -(-self.size // self.local_size)


def from_environment(environment: Mapping[str, str] | None = None) -> World:
    """The world as torch's launch variables give it; a single process where there are none.

    Raises UserError where a variable is no number or the rank lies outside the world.
    """
    env = os.environ if environment is None else environment

    def number(name: str, default: int) -> int:
        text = env.get(name, str(default))
        if not text.isdigit():
            raise UserError(
                f"environment {name}={text!r} is not a number; unset it or fix the launcher"
            )
        return int(text)

    size = number("WORLD_SIZE", 1)
    world = World(
        rank=number("RANK", 0),
        size=size,
        local_rank=number("LOCAL_RANK", 0),
        local_size=number("LOCAL_WORLD_SIZE", size),
        attempt=number("SLURM_RESTART_COUNT", 0),
        job_id=env.get("SLURM_JOB_ID"),
        node_name=env.get("SLURMD_NODENAME") or os.uname().nodename,
    )
    if world.rank >= world.size:
        raise UserError(f"environment RANK={world.rank} must be less than WORLD_SIZE={world.size}")
    return world


def cpus_at_hand() -> int:
    """CPUs that this process may use: of its Slurm job, if it is in one."""
    allowed = len(os.sched_getaffinity(0))
    granted = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return min(allowed, int(granted)) if granted.isdigit() else allowed


def visible_gpus() -> int:
    """GPUs that a process started here may use, without importing torch."""
    import pynvml

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        pynvml.nvmlInit()
        present = pynvml.nvmlDeviceGetCount()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return 0
    if visible is None:
        return present
    return min(present, len([item for item in visible.split(",") if item.strip()]))
