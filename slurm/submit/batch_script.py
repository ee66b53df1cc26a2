"""What sbatch is told of a job, and the lines around srun in its script; pure."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slurm.submit.site_profile import FROM_SBATCH, NO_SITE, SCRATCH_VARIABLE, Site
from slurm.submit.time_limit import SAVE_MARGIN_S

_RULING = (
    "SBATCH_TIMELIMIT",
    "SBATCH_SIGNAL",
    "SBATCH_OPEN_MODE",
    "SBATCH_JOB_NAME",
    "SBATCH_REQUEUE",
    "SBATCH_NO_REQUEUE",
    "SBATCH_GPUS_PER_NODE",
    "SBATCH_ARRAY_INX",
)
"""Variables for what every script says itself."""


@dataclass(frozen=True)
class Array:
    """Trainings of equal shape under one job id; they share a script."""

    links: Path
    """Holds a link to the run folder of each, named by its index."""
    count: int
    parallel: int
    """The most that may run at a time."""


@dataclass(frozen=True)
class Request:
    """Where a job runs, and for how long."""

    cluster: Literal["local", "slurm"]
    name: str
    nodes: int
    """The most, where ``min_nodes`` says what is enough."""
    tasks_per_node: int
    gpus_per_node: int
    cpus_per_task: int
    time_min: int
    log_folder: Path
    code_folder: Path
    """Snapshot that the job's Python imports from."""
    python: str
    """Interpreter on the nodes."""
    site: Site = NO_SITE
    min_nodes: int | None = None
    after: str | None = None
    """Job, or several as 12:13, that must end well before this one starts."""
    run_folder: Path | None = None
    """Of a training: its script ends with slurm.aftermath, which decides about requeueing."""
    mounts: tuple[Path, ...] = ()
    """Folders that a container must show."""
    array: Array | None = None
    """Instead of one run folder."""

    @property
    def world_size(self) -> int:
        return self.nodes * self.tasks_per_node

    @property
    def min_world_size(self) -> int:
        return (self.min_nodes or self.nodes) * self.tasks_per_node

    @property
    def is_elastic(self) -> bool:
        """Whether fewer than ``nodes`` are enough."""
        return self.min_nodes not in (None, self.nodes)

    @property
    def nodes_text(self) -> str:
        """As sbatch is told: ``8``, or ``7-8``."""
        return f"{self.min_nodes}-{self.nodes}" if self.is_elastic else str(self.nodes)


def sbatch_parameters(request: Request) -> dict[str, Any]:
    """submitit's parameters for the script of a request."""
    parameters: dict[str, Any] = {
        "job_name": request.name,
        # submitit counts tasks with it; `additional_parameters` has the last word.
        "nodes": request.nodes,
        "time": request.time_min,
        "signal_delay_s": SAVE_MARGIN_S,
        "wckey": None,
        "srun_args": [
            "--kill-on-bad-exit=1",
            # An sbatch told to export nothing would have srun do the same.
            "--export=ALL",
            # Slurm 22.05 and later: srun does not take the job's own number.
            f"--cpus-per-task={request.cpus_per_task}",
            *([f"--ntasks-per-node={request.tasks_per_node}"] if request.is_elastic else []),
            *_container_srun_args(request),
        ],
        "setup": _setup(request),
        "additional_parameters": _further_options(request),
        **_tasks(request),
        **_site_parameters(request.site),
    }
    if request.gpus_per_node and request.site.gres:
        kind = request.site.gres.rpartition(":")[0]
        parameters["gres"] = f"{kind}:{request.gpus_per_node}"
    elif request.gpus_per_node:
        parameters["gpus_per_node"] = request.gpus_per_node
    if request.array is not None:
        parameters["array_parallelism"] = request.array.parallel
    if folder := _run_folder_words(request):
        words = [request.python, "-u", "-m", "slurm.aftermath"]
        parameters["teardown"] = [f"exec {shlex.join(words)} $? {folder}"]
    return parameters


def task_python(request: Request) -> str:
    """The words of shell that start Python in a task: inside the container, if there is one."""
    container = request.site.container
    if container is None:
        return shlex.quote(request.python)
    if container.kind == "pyxis":
        return shlex.quote(container.python)
    words = ["apptainer", "exec"]
    words += ["--nv"] if request.gpus_per_node else []
    words += ["--bind", ",".join(_mounts(request))]
    words += [*container.options, container.image, container.python]
    return shlex.join(words)


def ruling_variables(site: Site) -> tuple[str, ...]:
    """Variables that sbatch would follow instead of what the script says."""
    # A site has taken over what its profile leaves open.
    told = [name for name in FROM_SBATCH if getattr(site, name) is not None]
    return (*_RULING, *(FROM_SBATCH[name] for name in told))


def _run_folder_words(request: Request) -> str | None:
    """The words of shell that say where the job's training lies."""
    if request.array is not None:
        links = shlex.quote(str(request.array.links.absolute()))
        return f'"$(readlink -f {links}/"$SLURM_ARRAY_TASK_ID")"'
    return None if request.run_folder is None else shlex.quote(str(request.run_folder.absolute()))


def _tasks(request: Request) -> dict[str, int]:
    if not request.is_elastic:
        return {
            "ntasks_per_node": request.tasks_per_node,
            "cpus_per_task": request.cpus_per_task,
        }
    # Told of tasks, Slurm stops at the nodes that hold those of the fewest. Told of CPUs alone,
    # it takes all the nodes that it may, and srun says how many ranks there are.
    return {"cpus_per_task": request.tasks_per_node * request.cpus_per_task}


def _site_parameters(site: Site) -> dict[str, Any]:
    named = {
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "mem": site.mem,
        "exclude": ",".join(site.exclude) or None,
    }
    return {name: value for name, value in named.items() if value is not None}


def _further_options(request: Request) -> dict[str, Any]:
    options: dict[str, Any] = {"requeue": True, "nodes": request.nodes_text}
    place = request.array.links if request.array is not None else request.run_folder
    if place is not None:
        # For who has the job's id alone.
        options["comment"] = str(place.absolute())
    if request.after is not None:
        options |= {"dependency": f"afterok:{request.after}", "kill-on-invalid-dep": "yes"}
    return options


def _setup(request: Request) -> list[str]:
    site, code = request.site, shlex.quote(str(request.code_folder.absolute()))
    lines = [
        'echo "attempt ${SLURM_RESTART_COUNT:-0} of job $SLURM_JOB_ID on $SLURM_JOB_NODELIST" >&2',
        *site.setup,
    ]
    if site.network_interface:
        name = shlex.quote(site.network_interface)
        lines += [f"export NCCL_SOCKET_IFNAME={name} GLOO_SOCKET_IFNAME={name}"]
    if site.scratch:
        lines += [f'export {SCRATCH_VARIABLE}="{site.scratch}"']
    return [
        *lines,
        f'[ -d {code} ] || {{ echo "error: the job\'s code is gone: $(hostname) has no" {code}'
        '"; type the launch command again" >&2; exit 2; }',
        # `python -m` would take the code from the working folder, which may be the checkout.
        f"export PYTHONPATH={code}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1",
    ]


def _container_srun_args(request: Request) -> list[str]:
    container = request.site.container
    if container is None or container.kind != "pyxis":
        return []
    mounts = ",".join(path if ":" in path else f"{path}:{path}" for path in _mounts(request))
    return [
        f"--container-image={container.image}",
        f"--container-mounts={mounts}",
        *container.options,
    ]


def _mounts(request: Request) -> list[str]:
    container = request.site.container
    assert container is not None
    own = [os.path.realpath(path) for path in request.mounts]
    return [*dict.fromkeys([*container.mounts, *own])]
