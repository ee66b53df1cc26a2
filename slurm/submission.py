"""Handing a job to Slurm or to this machine; only importer of submitit."""

import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
