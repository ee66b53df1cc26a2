"""What a Slurm cluster has: its partitions, their nodes, and the accounts of its user."""

import functools
import getpass
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import PipelineError, PreflightError, UserError
from slurm.submit.time_limit import parse_minutes, show_minutes
from slurm.watch.lost_controller import not_found, silent

_PATIENCE_S = 2.0
"""Of a person who waits for a launch; a busy controller may need longer."""
_SINFO = ("sinfo", "--noheader", "--all", "--exact", "--format=%P|%a|%l|%s|%F|%c|%m|%G|%f|%N")
_GPUS = re.compile(r"\bgpu(?::(?P<kind>[A-Za-z][\w.-]*))?:(?P<count>\d+)")


@dataclass(frozen=True)
class NodeGroup:
    """Nodes of a partition that are equal."""

    nodes: int
    down: int
    """Of these, drained or down now."""
    cpus: int
    memory_mb: int
    gpus: int
    gpu_kind: str | None
    features: tuple[str, ...]
    names: str
    """As Slurm writes them, such as n[1-8]."""


@dataclass(frozen=True)
class Partition:
    """A partition and its nodes."""

    name: str
    is_default: bool
    is_up: bool
    longest_min: int | None
    """Its time limit; None is none."""
    most_nodes: int | None
    """Of one job; None: no rule beyond the nodes that it has."""
    groups: tuple[NodeGroup, ...]

    @property
    def nodes(self) -> int:
        return sum(group.nodes for group in self.groups)

    @property
    def gpus_per_node(self) -> int:
        """Of most of the nodes that have any."""
        with_gpus = [group for group in self.groups if group.gpus]
        return max(with_gpus, key=lambda group: group.nodes).gpus if with_gpus else 0


@functools.cache
def read_partitions() -> tuple[Partition, ...] | None:
    """All partitions, asked for once; None where sinfo does not answer within 2 s."""
    text, _ = _sinfo()
    return None if text is None else parse_sinfo(text)


def no_partitions() -> PipelineError:
    """Why ``read_partitions`` has none: UserError where a person can mend it in this shell."""
    _, said = _sinfo()
    if lost := not_found(said):
        return UserError(lost)
    return PreflightError(silent(said) or "sinfo does not answer")


@functools.cache
def _sinfo() -> tuple[str | None, str]:
    return _ask(_SINFO)


@functools.cache
def read_accounts() -> tuple[str, ...] | None:
    """The accounts that this user may book on; None where Slurm keeps none or does not answer."""
    text = _answer(
        (
            *("sacctmgr", "--noheader", "--parsable2", "show", "associations"),
            f"user={getpass.getuser()}",
            "format=account",
        )
    )
    return tuple(dict.fromkeys(text.split())) or None if text else None


def read_hosts(partition: str) -> tuple[str, ...] | None:
    """The machines behind the nodes of a partition; None where sinfo does not answer."""
    text = _answer(("sinfo", "--noheader", "--Node", f"--partition={partition}", "--format=%n"))
    return None if text is None else tuple(dict.fromkeys(text.split()))


def parse_sinfo(text: str) -> tuple[Partition, ...]:
    """Partitions from the lines of ``sinfo`` in this module's format, in their order."""
    groups: dict[str, list[NodeGroup]] = {}
    rules: dict[str, tuple[bool, bool, int | None, int | None]] = {}
    for line in text.splitlines():
        label, state, longest, sizes, counts, cpus, memory, gres, features, names = line.split("|")
        name = label.removesuffix("*")
        most = sizes.rpartition("-")[2]
        rules[name] = (
            label.endswith("*"),
            state == "up",
            None if longest in ("infinite", "n/a") else parse_minutes(longest),
            int(most) if most.isdigit() else None,
        )
        _, _, down, nodes = map(int, counts.split("/"))
        kinds = [match["kind"] for match in _GPUS.finditer(gres)]
        group = NodeGroup(
            nodes=nodes,
            down=down,
            cpus=int(cpus),
            memory_mb=int(memory),
            gpus=sum(int(match["count"]) for match in _GPUS.finditer(gres)),
            gpu_kind=kinds[0] if kinds else None,
            features=() if features == "(null)" else tuple(features.split(",")),
            names=names,
        )
        # A partition without nodes has one line of zeros.
        groups.setdefault(name, []).extend([group] if nodes else [])
    return tuple(Partition(name, *rules[name], tuple(groups[name])) for name in groups)


def draft_profile() -> str:
    """A site profile for this cluster, as YAML with comments, for a person to go through.

    Raises PipelineError where sinfo does not answer.
    """
    partitions = read_partitions()
    if not partitions:
        raise no_partitions()
    return draft(partitions, read_accounts())


def draft(partitions: Sequence[Partition], accounts: Sequence[str] | None) -> str:
    """The profile's text: GPUs before none, Slurm's default before others."""
    chosen = max(partitions, key=lambda found: (found.gpus_per_node > 0, found.is_default))
    lines = ["# Drafted from sinfo and sacctmgr: go through it. All settings, with a word on each:"]
    lines += [
        "# slurm/submit/site_profile.py and slurm/sites/example.yaml.",
        "",
        "# Partitions here:",
    ]
    lines += [f"#   {_summary(partition)}" for partition in partitions]
    lines += [f"partition: {chosen.name}"]
    if accounts:
        others = f"    # or {', '.join(accounts[1:])}" if accounts[1:] else ""
        lines += [f"account: {accounts[0]}{others}"]
    else:
        lines += ["# account:                   # sacctmgr names none"]
    kinds = {group.gpu_kind for group in chosen.groups if group.gpus} - {None}
    if len(kinds) == 1:
        lines += [f"gres: gpu:{kinds.pop()}:{chosen.gpus_per_node}"]
    elif chosen.gpus_per_node:
        lines += [f"gpus_per_node: {chosen.gpus_per_node}"]
    else:
        lines += ["# gpus_per_node: 8           # no node here has GPUs that Slurm knows of"]
    if chosen.longest_min is not None:
        limit = show_minutes(min(chosen.longest_min, 24 * 60))
        lines += [
            f'time: "{limit}"    # the partition\'s limit is {show_minutes(chosen.longest_min)}'
        ]
    if chosen.gpus_per_node and chosen.groups:
        fewest = min(group.cpus for group in chosen.groups if group.gpus)
        each = fewest // chosen.gpus_per_node
        lines += [
            f"cpus_per_task: {max(each, 1)}    # {fewest} CPUs for {chosen.gpus_per_node} GPUs"
        ]
    return "\n".join([*lines, *_OPEN, ""])


_OPEN = (
    "# setup:                     # lines of shell before the ranks start",
    "#   - module load cuda",
    "# network_interface: ib0     # `ip link` on a compute node shows them",
    "# scratch: /scratch/$USER    # a node's own disk: data.stage_to=$NODE_SCRATCH",
)


def _summary(partition: Partition) -> str:
    limit = "no limit" if partition.longest_min is None else show_minutes(partition.longest_min)
    nodes = ", ".join(
        f"{group.names}: {group.cpus} CPUs, {group.gpus} {group.gpu_kind or ''} GPUs".replace(
            "  ", " "
        )
        for group in partition.groups
    )
    return f"{partition.name}{' (default)' if partition.is_default else ''}: {limit}; {nodes}"


def _answer(command: Sequence[str]) -> str | None:
    text, _ = _ask(command)
    return text


def _ask(command: Sequence[str]) -> tuple[str | None, str]:
    """Its answer, None where it has none; and what it wrote on stderr."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, ""
    return done.stdout if done.returncode == 0 else None, done.stderr
