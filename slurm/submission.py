"""Handing a job to Slurm or to this machine; only importer of submitit."""

import os
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import UserError

_WARNING_S = 120
"""Seconds between the warning signal and the end of the time limit: room for a checkpoint."""


@dataclass(frozen=True)
class Request:
    """Where a job runs, and for how long."""

    cluster: Literal["local", "slurm"]
    name: str
    nodes: int
    tasks_per_node: int
    gpus_per_node: int
    cpus_per_task: int
    time_min: int
    log_folder: Path
    code_folder: Path
    """Snapshot that the job's Python imports from."""

    @property
    def world_size(self) -> int:
        return self.nodes * self.tasks_per_node


def sbatch_text(request: Request) -> str:
    """The batch script that ``submit`` would hand to Slurm; needs no Slurm."""
    from submitit.slurm.slurm import _make_sbatch_string

    command = f"{sys.executable} -u -m submitit.core._submit {request.log_folder.absolute()}"
    return _make_sbatch_string(
        command=command, folder=request.log_folder.absolute(), **_slurm_parameters(request)
    )


def submit(request: Request, function: Any) -> Any:
    """Submit a picklable function; returns submitit's job at once."""
    import submitit

    request.log_folder.mkdir(parents=True, exist_ok=True)
    if request.cluster == "slurm":
        from submitit.slurm.slurm import SlurmExecutor

        executor = SlurmExecutor(request.log_folder, max_num_timeout=1000)
        executor.update_parameters(**_slurm_parameters(request))
        return executor.submit(function)
    local = submitit.LocalExecutor(request.log_folder)
    local.update_parameters(
        timeout_min=request.time_min,
        signal_delay_s=_WARNING_S,
        tasks_per_node=request.tasks_per_node,
        gpus_per_node=request.gpus_per_node,
    )
    # The tasks inherit these; Ctrl-C is the launcher's, who passes it on as SIGTERM.
    os.environ["PYTHONPATH"] = str(request.code_folder)
    os.environ["MASTER_PORT"] = str(_free_port())
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return local.submit(function)
    finally:
        signal.signal(signal.SIGINT, previous)


@dataclass(frozen=True)
class ArrayRequest:
    """An array of jobs on a node each, and the job that follows them."""

    name: str
    cpus_per_task: int | None
    """None: the whole node."""
    time_min: int
    log_folder: Path
    code_folder: Path
    """Snapshot that the jobs' Python imports from."""


class Restartable(ABC):
    """A function that may be started again from the beginning: at its time limit it is queued."""

    @abstractmethod
    def __call__(self) -> None:
        """Do what is left to do."""

    def checkpoint(self, *args: Any) -> Any:
        """What submitit asks for when the time limit is near."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *args)


def submit_array(
    request: ArrayRequest, parts: Sequence[Restartable], last: Restartable
) -> tuple[str, str]:
    """Submit ``parts`` as a Slurm job array, and ``last`` to run when all have ended, well or not.

    Returns the two job ids. Raises UserError where Slurm refuses them.
    """
    from submitit.core.utils import FailedJobError
    from submitit.slurm.slurm import SlurmExecutor

    request.log_folder.mkdir(parents=True, exist_ok=True)
    executor = SlurmExecutor(request.log_folder, max_num_timeout=1000)
    whole_node = request.cpus_per_task is None
    common: dict[str, Any] = {
        "nodes": 1,
        "ntasks_per_node": 1,
        "time": request.time_min,
        "signal_delay_s": _WARNING_S,
        "srun_args": ["--cpu-bind=none"],
        "setup": [f"export PYTHONPATH={request.code_folder.absolute()}"],
        "stderr_to_stdout": True,
    }
    executor.update_parameters(
        **common,
        job_name=request.name,
        array_parallelism=len(parts),
        additional_parameters={"requeue": True},
        **({"exclusive": True} if whole_node else {"cpus_per_task": request.cpus_per_task}),
    )
    try:
        with executor.batch():
            jobs = [executor.submit(part) for part in parts]
        array = jobs[0].job_id.partition("_")[0]
        then = SlurmExecutor(request.log_folder, max_num_timeout=1000)
        then.update_parameters(
            **common,
            job_name=f"{request.name}-finish",
            additional_parameters={"requeue": True, "dependency": f"afterany:{array}"},
        )
        return array, then.submit(last).job_id
    except (FailedJobError, OSError) as error:
        raise UserError(
            f"Slurm refuses the job ({str(error).strip().splitlines()[-1]}); partition and account "
            "come from SBATCH_PARTITION and SBATCH_ACCOUNT"
        ) from error


def in_queue(job_ids: Sequence[str]) -> bool | None:
    """Whether any of these jobs waits or runs; None where Slurm cannot be asked."""
    command = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(job_ids)}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if "Invalid job id" in done.stderr:  # forgotten, minutes after their end
        return False
    return bool(done.stdout.strip()) if done.returncode == 0 else None


def export_world() -> None:
    """In a task: set torch's launch variables (RANK, WORLD_SIZE, MASTER_ADDR, ...)."""
    import submitit

    environment = submitit.helpers.TorchDistributedEnvironment()
    environment.export(set_cuda_visible_devices=False, overwrite=True)
    if submitit.JobEnvironment().num_nodes == 1:
        os.environ["MASTER_ADDR"] = "127.0.0.1"


def requeue() -> None:
    """In the main task of a Slurm job: queue the job again, under the same id."""
    import submitit

    submitit.JobEnvironment()._requeue(0)


def _slurm_parameters(request: Request) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "job_name": request.name,
        "nodes": request.nodes,
        "ntasks_per_node": request.tasks_per_node,
        "cpus_per_task": request.cpus_per_task,
        "time": request.time_min,
        "signal_delay_s": _WARNING_S,
        "srun_args": ["--kill-on-bad-exit=1"],
        "setup": [f"export PYTHONPATH={request.code_folder.absolute()}"],
        "additional_parameters": {"requeue": True},
    }
    if request.gpus_per_node:
        parameters["gpus_per_node"] = request.gpus_per_node
    return parameters


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
