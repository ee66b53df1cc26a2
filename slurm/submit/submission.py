"""Handing a job to Slurm or to this machine; only importer of submitit."""

import contextlib
import io
import os
import shlex
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm.submit.batch_script import Request, ruling_variables, sbatch_parameters, task_python
from slurm.submit.refusal import refused
from slurm.submit.site_profile import NO_SITE, Site
from slurm.submit.time_limit import SAVE_MARGIN_S

__all__ = ["Request"]
_NO_LIMIT = 1_000_000
"""Of submitit, which counts time limits; the chain of them ends with the training."""
_QUEUE_PATIENCE_S = 10


def sbatch_text(request: Request) -> str:
    """The batch script that ``submit`` hands to Slurm; needs no Slurm."""
    from submitit.slurm.slurm import _make_sbatch_string

    folder = request.log_folder.absolute()
    python = task_python(request)
    return _make_sbatch_string(
        command=f"{python} -u -m submitit.core._submit {shlex.quote(str(folder))}",
        folder=folder,
        map_count=None if request.array is None else request.array.count,
        **sbatch_parameters(request),
    )


def submit(request: Request, function: Any) -> Any:
    """Submit a picklable function; returns submitit's job at once.

    Raises UserError where Slurm refuses the job, with its words.
    """
    request.log_folder.mkdir(parents=True, exist_ok=True)
    if request.cluster == "slurm":
        return _submit_to_slurm(request, function)
    return _submit_here(request, function)


def submit_runs(request: Request, functions: Sequence[Any]) -> list[str]:
    """Submit one picklable function per task of ``request.array``; returns the tasks' job ids.

    submitit's own arrays have one folder for all logs; here each task finds that of its run.
    Raises UserError where Slurm refuses the array, with its words.
    """
    from submitit.core.utils import CommandFunction, DelayedSubmission

    array = request.array
    assert array is not None and array.count == len(functions)
    folders = [array.links / str(index) / "logs" for index in range(array.count)]
    for folder, function in zip(folders, functions, strict=True):
        delayed = DelayedSubmission(function)
        delayed.set_timeout(request.time_min, _NO_LIMIT)
        delayed.dump(folder / "submitted.pkl")
    script = array.links / "submission.sh"
    script.write_text(sbatch_text(request))
    with _sbatch(request.site):
        said = CommandFunction(["sbatch", "--parsable", str(script)], verbose=False)()
    job = said.strip().splitlines()[-1].partition(";")[0]
    names = [f"{job}_{index}" for index in range(array.count)]
    for folder, name in zip(folders, names, strict=True):
        # A task that is as quick waits for it.
        (folder / "submitted.pkl").rename(folder / f"{name}_submitted.pkl")
        (folder / f"{job}_submission.sh").symlink_to(script.absolute())
    return names


def _submit_to_slurm(request: Request, function: Any) -> Any:
    from submitit.slurm.slurm import SlurmExecutor

    executor = SlurmExecutor(
        request.log_folder, max_num_timeout=_NO_LIMIT, python=task_python(request)
    )
    executor.update_parameters(**sbatch_parameters(request))
    with _sbatch(request.site):
        return executor.submit(function)


def _submit_here(request: Request, function: Any) -> Any:
    import submitit

    local = submitit.LocalExecutor(request.log_folder)
    local.update_parameters(
        timeout_min=request.time_min,
        signal_delay_s=SAVE_MARGIN_S,
        tasks_per_node=request.tasks_per_node,
        gpus_per_node=request.gpus_per_node,
    )
    # The tasks inherit these; Ctrl-C is the launcher's, who passes it on as SIGTERM.
    os.environ["PYTHONPATH"] = str(request.code_folder)
    # `python -m` would take the code from the working folder, which may be the checkout.
    os.environ["PYTHONSAFEPATH"] = "1"
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
    from submitit.slurm.slurm import SlurmExecutor

    request.log_folder.mkdir(parents=True, exist_ok=True)
    executor = SlurmExecutor(request.log_folder, max_num_timeout=_NO_LIMIT)
    whole_node = request.cpus_per_task is None
    common: dict[str, Any] = {
        "nodes": 1,
        "ntasks_per_node": 1,
        "time": request.time_min,
        "signal_delay_s": SAVE_MARGIN_S,
        "srun_args": ["--cpu-bind=none"],
        "setup": [
            f"export PYTHONPATH={shlex.quote(str(request.code_folder.absolute()))} PYTHONSAFEPATH=1"
        ],
        "stderr_to_stdout": True,
    }
    executor.update_parameters(
        **common,
        job_name=request.name,
        array_parallelism=len(parts),
        additional_parameters={"requeue": True},
        **({"exclusive": True} if whole_node else {"cpus_per_task": request.cpus_per_task}),
    )
    with _sbatch(NO_SITE):
        with executor.batch():
            jobs = [executor.submit(part) for part in parts]
        array = jobs[0].job_id.partition("_")[0]
        then = SlurmExecutor(request.log_folder, max_num_timeout=_NO_LIMIT)
        then.update_parameters(
            **common,
            job_name=f"{request.name}-finish",
            additional_parameters={"requeue": True, "dependency": f"afterany:{array}"},
        )
        return array, then.submit(last).job_id


def queued(job_ids: Sequence[str]) -> list[str] | None:
    """Which of these jobs wait or run; None where Slurm cannot be asked.

    job_ids: of jobs, arrays, or array tasks (``7_1``).
    """
    if not job_ids:
        return []
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(job_ids)}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_QUEUE_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if "Invalid job id" in done.stderr:  # forgotten, minutes after their end
        return []
    if done.returncode:
        return None
    shown = {name for line in done.stdout.split() for name in (line, line.partition("_")[0])}
    return [job for job in job_ids if job in shown]


def in_queue(job_ids: Sequence[str]) -> bool | None:
    """Whether any of these jobs waits or runs; None where Slurm cannot be asked."""
    found = queued(job_ids)
    return None if found is None else bool(found)


def outside_of_jobs(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables without those of a job that this process may run in; which Slurm it is, stays.

    sbatch and srun would take an outer job's numbers for options of the new one.
    """
    inner = ("SLURM_", "SLURMD_", "SRUN_", "PMI_", "PMI2_", "PMIX_", "SUBMITIT_")
    kept = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS")
    in_job = "SLURM_JOB_ID" in environment
    # Slurm hands out devices by these, and the new job gets others.
    devices = ("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES")
    return {
        name: value
        for name, value in environment.items()
        if name in kept or not (name.startswith(inner) or (in_job and name in devices))
    }


def export_world() -> None:
    """In a task: set torch's launch variables (RANK, WORLD_SIZE, MASTER_ADDR, ...)."""
    import submitit

    environment = submitit.helpers.TorchDistributedEnvironment()
    environment.export(set_cuda_visible_devices=False, overwrite=True)
    if submitit.JobEnvironment().num_nodes == 1:
        os.environ["MASTER_ADDR"] = "127.0.0.1"
    elif not _resolves(os.environ["MASTER_ADDR"]):
        # Slurm's own name for the first node; srun was started there, by the batch script.
        os.environ["MASTER_ADDR"] = os.environ["SLURM_LAUNCH_NODE_IPADDR"]


def job_name() -> str:
    """In a task: the job's id as people type it, ``12`` or ``12_3``."""
    import submitit

    return submitit.JobEnvironment().job_id


@contextlib.contextmanager
def _sbatch(site: Site) -> Iterator[None]:
    """An environment for sbatch, and its refusals as UserError."""
    from submitit.core.utils import FailedJobError

    before = dict(os.environ)
    ruled = ruling_variables(site)
    clean = {k: v for k, v in outside_of_jobs(before).items() if k not in ruled}
    try:
        os.environ.clear()
        os.environ.update(clean)
        # submitit prints what it also raises.
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    except (FailedJobError, OSError) as error:
        raise refused(str(error)) from error
    finally:
        os.environ.clear()
        os.environ.update(before)


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
