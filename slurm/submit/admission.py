"""What Slurm, or the wait for it, would refuse later: asked and said on the login node."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline.errors import UserError
from pipeline.log import warn
from slurm.submit.batch_script import Request
from slurm.submit.partitions import NodeGroup, Partition, read_hosts
from slurm.submit.site_profile import Site
from slurm.submit.time_limit import SAVE_MARGIN_S, SHORTEST_MIN, show_minutes
from slurm.watch.controller import Answer

_MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs", "devtmpfs")
_KERNEL_FILE_SYSTEMS = ("cgroup", "cgroup2", "devpts", "proc", "sysfs")
"""Where root, too, makes no folder."""
_DISK_FILE_SYSTEMS = ("btrfs", "ext2", "ext3", "ext4", "overlay", "rootfs", "xfs", "zfs")
_TEMPORARY = tuple(map(Path, ("/tmp", "/var/tmp")))


def partition_of(site: Site, partitions: Sequence[Partition]) -> Partition | None:
    """The partition that a job of this site gets; None where Slurm has no default.

    Raises UserError where there is no such partition.
    """
    if site.partition is None:
        return next((partition for partition in partitions if partition.is_default), None)
    # sbatch takes a list: the one that can start first.
    names = {partition.name: partition for partition in partitions}
    wanted = site.partition.split(",")
    for name in wanted:
        if name not in names:
            raise UserError(
                f"partition={name}: this cluster has no such partition; it has "
                f"{', '.join(names)}: give --partition, or change the site profile or "
                "SBATCH_PARTITION"
            )
    return names[wanted[0]] if len(wanted) == 1 else None


def check_time(minutes: int, typed: str) -> None:
    """Raise UserError where a limit leaves no time between the start and the warning.

    typed: the limit as a person wrote it, and what it means.
    """
    if minutes < SHORTEST_MIN:
        raise UserError(
            f"{typed}: Slurm warns {SAVE_MARGIN_S} s before the end, or up "
            f"to 60 s earlier, so that a checkpoint can be saved; use at least "
            f"{show_minutes(SHORTEST_MIN)}"
        )


def check_account(site: Site, accounts: Sequence[str] | None) -> None:
    """Raise UserError where the user does not have the account; None: nobody knows."""
    if accounts is not None and site.account is not None and site.account not in accounts:
        raise UserError(
            f"account={site.account}: you have no such account on this cluster; you have "
            f"{', '.join(accounts)}: give --account, or change the site profile or SBATCH_ACCOUNT"
        )


def check_partition(request: Request, partition: Partition) -> None:
    """Raise UserError for what the partition can never give; warn of what it cannot give now."""
    name, fewest = partition.name, request.min_nodes or request.nodes
    if not partition.nodes:
        raise UserError(f"partition={name} has no nodes; name another with --partition")
    if not partition.is_up:
        warn(f"partition {name} is not up: the job waits")
    longest = partition.longest_min
    if longest is not None and request.time_min > longest:
        raise UserError(
            f"--time {show_minutes(request.time_min)} is over partition {name}'s limit of "
            f"{show_minutes(longest)}; use --time {show_minutes(longest)}: the job is queued again "
            "until the training is complete"
        )
    if fewest > partition.nodes:
        raise UserError(
            f"--nodes {request.nodes_text}: partition {name} has {partition.nodes} nodes; use at "
            f"most --nodes {partition.nodes}"
        )
    most = partition.most_nodes
    if most is not None and fewest > most:
        raise UserError(
            f"--nodes {request.nodes_text}: partition {name} gives a job at most {most} nodes; use "
            f"--nodes {most}"
        )
    _check_nodes(request, partition, fewest)


def _check_nodes(request: Request, partition: Partition, fewest: int) -> None:
    name, cpus = partition.name, request.tasks_per_node * request.cpus_per_task
    with_gpus = [group for group in partition.groups if group.gpus >= request.gpus_per_node]
    if _count(with_gpus) < fewest:
        most = max((group.gpus for group in partition.groups), default=0)
        raise UserError(
            f"device=cuda: {_nodes_that_have(with_gpus, name, fewest)} {request.gpus_per_node} "
            f"GPUs ({_shown(partition, 'GPUs')}); use "
            + (f"--gpus-per-node {most}" if most else "a partition that has GPUs, or device=cpu")
        )
    fitting = [group for group in with_gpus if group.cpus >= cpus]
    if _count(fitting) < fewest:
        most = max(group.cpus for group in with_gpus)
        raise UserError(
            f"{request.tasks_per_node} ranks per node with {request.cpus_per_task} CPUs each need "
            f"{cpus} CPUs: {_nodes_that_have(fitting, name, fewest)} as many "
            f"({_shown(partition, 'CPUs')}); " + _fewer_cpus(most, request.tasks_per_node)
        )
    up = sum(group.nodes - group.down for group in fitting)
    if up < fewest:
        warn(f"partition {name}: {up} of {_count(fitting)} fitting nodes are up: the job waits")


def check_awaited(answer: Answer, job_ids: Sequence[str]) -> None:
    """Raise UserError where a job that is to end well first has failed, or where there is none.

    sbatch accepts such a job, and then starts this one at once or never.
    """
    if answer.problem is not None:
        warn(f"{answer.problem}: whether there is a job {', '.join(job_ids)} is not known")
        return
    for job in job_ids:
        state = answer.states.get(job)
        if state is None:
            raise UserError(
                f"--after {job}: Slurm knows no such job of yours; leave it out if it is done, or "
                "name one that `squeue --me` shows"
            )
        if not state.is_active and state.state != "COMPLETED":
            raise UserError(
                f"--after {job}: that job has ended, {state.state}; this one would never start: "
                "leave out --after, or submit that one again"
            )


def check_writable(folder: Path, runs_root: str) -> None:
    """Raise UserError where a run's folder surely cannot be made; writes nothing."""
    path = Path(os.path.abspath(folder))
    nearest = next(place for place in (path, *path.parents) if os.path.exists(place))
    if not nearest.is_dir():
        why = f"{nearest} is a file"
    elif _file_system(nearest)[1] in _KERNEL_FILE_SYSTEMS:
        why = f"{nearest} is on a file system for the kernel's own files"
    elif os.statvfs(nearest).f_flag & os.ST_RDONLY:
        why = f"{nearest} is on a file system that is mounted read-only"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        why = f"you may not write in {nearest}"
    else:
        return
    raise UserError(f"runs_root={runs_root}: cannot be created ({why}); set runs_root=FOLDER")


def check_seen_by_nodes(what: str, path: Path, partition: Partition | None) -> None:
    """Raise UserError where a path is surely on this machine alone, and the nodes are others."""
    why = _private(path.absolute())
    if why is None:
        return
    hosts = read_hosts(partition.name) if partition is not None else None
    if hosts is None:
        warn(f"{what} {path.absolute()} {why}: other nodes would not see it")
        return
    if set(hosts) == {socket.gethostname().partition(".")[0]}:
        return
    raise UserError(
        f"{what} {path.absolute()} {why}, which the nodes do not see; it must be on a file system "
        "that all nodes share (runs_root=FOLDER for runs, python in the site profile)"
    )


def _private(path: Path) -> str | None:
    """Why a path is this machine's own, or None where that is not sure."""
    folder, kind = _file_system(path)
    if kind in _MEMORY_FILE_SYSTEMS:
        return f"is on a {kind} in this machine's memory"
    temporary = [place for place in _TEMPORARY if folder.is_relative_to(place)]
    if temporary and kind in _DISK_FILE_SYSTEMS:
        return f"is in this machine's own {temporary[0]}"
    return None


def _file_system(path: Path) -> tuple[Path, str]:
    """The folder without links, and the type of what it is on."""
    folder, mounts = Path(os.path.realpath(path)), _mounts()
    mounted = next(parent for parent in (folder, *folder.parents) if str(parent) in mounts)
    return folder, mounts[str(mounted)]


def _mounts() -> dict[str, str]:
    lines = Path("/proc/mounts").read_text().splitlines()
    # Later mounts hide earlier ones. A space in a path stands as \040.
    return {"/": "rootfs"} | {
        folder.replace("\\040", " "): kind for _, folder, kind, *_ in map(str.split, lines)
    }


def _count(groups: Sequence[NodeGroup]) -> int:
    return sum(group.nodes for group in groups)


def _nodes_that_have(fitting: Sequence[NodeGroup], name: str, fewest: int) -> str:
    count = _count(fitting)
    if not count:
        return f"no node of partition {name} has"
    return f"{count} nodes of partition {name}, and not {fewest}, have"


def _shown(partition: Partition, what: Literal["CPUs", "GPUs"]) -> str:
    """``its 8 nodes have 0``, ``13 of its nodes have 8, 2 have 4``."""
    counts: dict[int, int] = {}
    for group in partition.groups:
        each = group.gpus if what == "GPUs" else group.cpus
        counts[each] = counts.get(each, 0) + group.nodes
    if len(counts) == 1:
        return f"its {partition.nodes} nodes have {next(iter(counts))}"
    return "of its nodes " + ", ".join(f"{nodes} have {each}" for each, nodes in counts.items())


def _fewer_cpus(most: int, tasks: int) -> str:
    each = most // tasks
    if each > 2:
        return f"use data.decode_threads={each - 2}, or cpus_per_task: {each} in the site profile"
    if each:
        return f"use data.decode_threads=1 and cpus_per_task: {each} in the site profile"
    return f"use --tasks-per-node {most}"
