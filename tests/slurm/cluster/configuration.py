"""The configuration files of a cluster, and its key."""

import ipaddress
import os
import pwd
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

CPUS_PER_NODE = 8
"""More than this machine may have: Slurm believes what it is told."""
ACCOUNT = "research"
"""The account of the cluster's user, beside Slurm's own ``root``."""

# Short times for a cluster that lives for seconds; Slurm's own defaults wait up to a minute.
# A killed node is down, and its job queued again, after SlurmdTimeout and two times MessageTimeout
# at most; a job that is queued again starts cred_expire and a second later.
_SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={ctld_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
{listen}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
SlurmdParameters=config_overrides
SlurmdTimeout=15
MessageTimeout=20
KillWait=30
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={address}
AccountingStoragePort={dbd_port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=15
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
# No cgroups at all is no choice; version 1, unlike 2, then asks nothing of systemd or of root.
_CGROUP_CONF = "CgroupPlugin=cgroup/v1\n"
_NODE_CONF = (
    "NodeName={name} NodeHostname={host} NodeAddr={address} Port={port} "
    f"CPUs={CPUS_PER_NODE} RealMemory=16000 State=UNKNOWN"
)
_SLURMDBD_CONF = """\
DbdHost={host}
DbdAddr={address}
DbdPort={dbd_port}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
PidFile={folder}/slurmdbd.pid
"""
# A socket alone: no port, and nobody else may enter the folder. What it stores dies with it.
_MARIADB_CNF = """\
[mariadbd]
user={user}
datadir={folder}/database
socket={folder}/mariadb.socket
pid-file={folder}/mariadbd.pid
tmpdir={folder}
skip-networking
skip-name-resolve
innodb_buffer_pool_size=64M
innodb_log_file_size=16M
innodb_lock_wait_timeout=900
innodb_flush_log_at_trx_commit=0
innodb_doublewrite=OFF
"""


def user_name() -> str:
    """Who runs this process, and all of the cluster."""
    return pwd.getpwuid(os.getuid()).pw_name


def write_files(folder: Path, nodes: Sequence[str]) -> None:
    """Write a key and the daemons' configuration, with ports that are free now, into a folder."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    _write_private(folder / "munge.key", secrets.token_bytes(128))
    host = socket.gethostname().partition(".")[0]
    address, listen = _address(host)
    ctld_port, dbd_port, *ports = _free_ports(2 + len(nodes))
    lines = [
        _NODE_CONF.format(name=name, host=host, address=address, port=port)
        for name, port in zip(nodes, ports, strict=True)
    ]
    values = {
        "host": host,
        "address": address,
        "listen": listen,
        "ctld_port": ctld_port,
        "dbd_port": dbd_port,
        "user": user_name(),
        "folder": folder,
        "nodes": "\n".join(lines),
    }
    (folder / "slurm.conf").write_text(_SLURM_CONF.format(**values))
    (folder / "cgroup.conf").write_text(_CGROUP_CONF)
    (folder / "mariadb.cnf").write_text(_MARIADB_CNF.format(**values))
    _write_private(folder / "slurmdbd.conf", _SLURMDBD_CONF.format(**values).encode())


def _write_private(path: Path, data: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(data)


def _address(host: str) -> tuple[str, str]:
    """An address of the daemons, and the line of slurm.conf that has them listen nowhere else.

    Slurm listens either where the host's name points or everywhere. Where the name is not on
    loopback, as in many containers, munge's key alone keeps others out.
    """
    with suppress(OSError):
        address = socket.gethostbyname(host)
        if ipaddress.ip_address(address).is_loopback:
            return address, "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny"
    return "127.0.0.1", ""


def _free_ports(count: int) -> list[int]:
    """Below those that the kernel gives to clients: one of these may be taken before its daemon."""
    found: list[int] = []
    for port in secrets.SystemRandom().sample(range(20_000, 32_000), k=1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"fewer than {count} free ports between 20,000 and 32,000")
