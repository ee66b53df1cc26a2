"""Names and interfaces: whether other nodes would find this one, and this one the first."""

import ipaddress
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from slurm.doctor.finding import Verdict, fail, ok, warn
from slurm.doctor.subject import Subject

_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@dataclass(frozen=True)
class Interface:
    """A network interface with an IPv4 address."""

    name: str
    address: str
    is_up: bool

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback


def host_name(subject: Subject) -> Verdict:
    """Whether this machine's own name leads to an address that the others reach."""
    name = os.uname().nodename
    try:
        address = socket.gethostbyname(name)
    except OSError as error:
        address = f"{error.strerror or error}"
    # Several nodes on one machine, as on a test cluster, do find each other on loopback.
    shares_machine = subject.is_in_job and subject.node.partition(".")[0] != name.partition(".")[0]
    return name_verdict(
        name,
        address,
        must_be_reached=subject.nodes > 1 and not shares_machine,
        is_interface_set="GLOO_SOCKET_IFNAME" in os.environ,
        interfaces=interfaces(),
    )


def name_verdict(
    name: str,
    address: str,
    must_be_reached: bool,
    is_interface_set: bool,
    interfaces: Sequence[Interface],
) -> Verdict:
    """address: what the name leads to, or why it leads nowhere. must_be_reached: other nodes are
    to use it. Gloo listens at the address of the host's name unless an interface is set."""
    usable = [i.name for i in interfaces if i.is_up and not i.is_loopback]
    remedy = (
        f"set GLOO_SOCKET_IFNAME (and NCCL_SOCKET_IFNAME) to an interface that all nodes have, "
        f"here {' or '.join(usable) or 'none is up'}; or mend {name} in /etc/hosts or DNS"
    )
    problem = None
    if not _is_address(address):
        problem = f"{name} leads to no address ({address})"
    elif ipaddress.ip_address(address).is_loopback and must_be_reached:
        problem = f"{name} is {address}, where other nodes find themselves"
    if problem is None:
        return ok(f"{name} is {address}")
    if is_interface_set:
        return ok(f"{problem}; GLOO_SOCKET_IFNAME makes up for it")
    return fail(problem, remedy) if must_be_reached else warn(problem, remedy)


def first_node(subject: Subject) -> Verdict | None:
    """In a job: whether the name at which the ranks meet leads to an address."""
    meeting = os.environ.get("MASTER_ADDR")
    if not subject.is_in_job or meeting is None:
        return None
    try:
        return ok(f"the ranks meet at {meeting} = {socket.gethostbyname(meeting)}")
    except OSError as error:
        return fail(
            f"the first node's name {meeting} leads to no address here ({error.strerror or error})",
            "put the nodes' names into DNS or into every node's /etc/hosts",
        )


def chosen_interfaces(subject: Subject) -> Verdict:
    """What GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name, against what there is."""
    return interfaces_verdict(os.environ, interfaces())


def interfaces_verdict(environment: Mapping[str, str], present: Sequence[Interface]) -> Verdict:
    """environment: of the job. Raises nothing."""
    usable = [i for i in present if i.is_up and not i.is_loopback]
    shown = ", ".join(f"{i.name} ({i.address})" for i in usable) or "none but loopback"
    told: list[str] = []
    for variable in _VARIABLES:
        wanted = environment.get(variable)
        if not wanted:
            continue
        chosen = [i for i in present if _selects(wanted, i.name, variable.startswith("NCCL"))]
        if not [i for i in chosen if i.is_up]:
            state = "down" if chosen else "not on this machine"
            return fail(
                f"{variable}={wanted} is {state}; there are: {shown}",
                f"set {variable} to one of those (interface of the site profile), or unset it",
            )
        told.append(f"{variable}={wanted}: " + ", ".join(f"{i.name} {i.address}" for i in chosen))
    return ok("; ".join(told) if told else f"none is prescribed; there are: {shown}")


def interfaces() -> list[Interface]:
    """All with an IPv4 address."""
    stats = psutil.net_if_stats()
    return [
        Interface(name, entry.address, name in stats and stats[name].isup)
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family == socket.AF_INET
    ]


def _selects(wanted: str, name: str, is_nccl: bool) -> bool:
    """NCCL takes prefixes, ``=`` before whole names and ``^`` before what it must not take."""
    if not is_nccl:
        return name in wanted.split(",")
    refuses = wanted.startswith("^")
    is_exact = "=" in wanted[:2]
    names = wanted.lstrip("^=").split(",")
    return refuses != any(name == n if is_exact else name.startswith(n) for n in names)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
