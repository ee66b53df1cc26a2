"""A real Slurm cluster on this machine: munged, slurmctld and one slurmd per node.

Its files are in one folder and its processes belong to the user who starts it, root or not. A
Slurm that this machine may already have is neither read nor touched.
"""

import ipaddress
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

CPUS_PER_NODE = 2
_START_S = 30
_STOP_S = 10
_COMMAND_S = 30
_PROGRAMS = (
    *("munged", "slurmctld", "slurmd", "setpriv"),
    *("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"),
)
# A user's PATH often lacks the folders that hold the daemons.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

# Short times for a cluster that lives for seconds; Slurm's own defaults wait up to a minute.
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
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=5
{nodes}
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
_NODE_CONF = (
    "NodeName={name} NodeHostname={host} NodeAddr={address} Port={port} "
    f"CPUs={CPUS_PER_NODE} RealMemory=16000 State=UNKNOWN"
)


class ClusterError(RuntimeError):
    """A daemon or a command of the cluster failed, or something did not happen in time."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    folder: Path
    nodes: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs besides its usual environment."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *words: object, timeout_s: float = _COMMAND_S) -> str:
        """Stdout of a command on this cluster, stripped. Raises ClusterError if it fails."""
        done = subprocess.run(
            list(map(str, words)),
            env=os.environ | self.environment,
            text=True,
            capture_output=True,
            timeout=timeout_s,
        )
        if done.returncode:
            raise ClusterError(f"{words} exited with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def queue(self) -> dict[str, str]:
        """State and reason of every job that is not over; tasks of arrays apart, as ``7_1``."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T %r").splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def wait(self, *job_ids: object, timeout_s: float = 60) -> None:
        """Wait until these jobs, arrays or array tasks (``7_1``) have left the queue.

        Raises ClusterError with what the queue and the logs say, after ``timeout_s``.
        """
        wanted = set(map(str, job_ids))
        _wait_until(
            lambda: not any(wanted & {job, job.partition("_")[0]} for job in self.queue()),
            timeout_s,
            lambda: f"jobs {sorted(wanted)} are still queued: {self.queue()}\n{self.log_ends()}",
        )

    def processes(self) -> set[psutil.Process]:
        """What was started with this cluster's environment, and its children: daemons and jobs."""
        [variable] = [f"{name}={value}".encode() for name, value in self.environment.items()]
        found: set[psutil.Process] = set()
        for pid in psutil.pids():
            # Not psutil's environ(): it stops at the zeros that slurmstepd's new title leaves.
            with suppress(OSError, psutil.Error):
                if variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    process = psutil.Process(pid)
                    found.update((process, *process.children(recursive=True)))
        return found

    def log_ends(self, lines: int = 15) -> str:
        """The last lines that every daemon wrote."""
        ends: list[str] = []
        for path in sorted(self.folder.glob("*.log")):
            text = path.read_text(errors="replace").splitlines()
            ends += [f"--- {path.name}", *text[-lines:]]
        return "\n".join(ends)


def missing_programs() -> list[str]:
    """The programs of a cluster that this machine lacks."""
    return [program for program in _PROGRAMS if shutil.which(program, path=_PATH) is None]


@contextmanager
def running_cluster(folder: Path, node_count: int = 2) -> Iterator[Cluster]:
    """Start a cluster in an empty folder, and stop all of it at the end, however that comes.

    Raises ClusterError, with the ends of the logs, if its nodes are not idle in half a minute.
    """
    cluster = Cluster(folder.resolve(), tuple(f"n{number}" for number in range(1, node_count + 1)))
    _write_files(cluster)
    with ExitStack() as stack:
        stack.callback(_kill_jobs, cluster)
        started: dict[str, subprocess.Popen[bytes]] = {}

        def start(name: str, *words: object) -> None:
            started[name] = stack.enter_context(_daemon(cluster, name, words))

        start("munged", "munged", "--foreground", *_munged_options(cluster.folder))
        _wait_until_alive(cluster, started, (cluster.folder / "munge.socket").exists)
        start("slurmctld", "slurmctld", "-D")
        for node in cluster.nodes:
            start(f"slurmd-{node}", "slurmd", "-D", "-N", node)
        _wait_until_alive(cluster, started, lambda: _are_idle(cluster))
        yield cluster


def _write_files(cluster: Cluster) -> None:
    for name in ("state", "spool"):
        (cluster.folder / name).mkdir()
    key = cluster.folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    address, listen = _address(host)
    ctld_port, *ports = _free_ports(1 + len(cluster.nodes))
    lines = [
        _NODE_CONF.format(name=name, host=host, address=address, port=port)
        for name, port in zip(cluster.nodes, ports, strict=True)
    ]
    text = _SLURM_CONF.format(
        host=host,
        address=address,
        listen=listen,
        ctld_port=ctld_port,
        user=pwd.getpwuid(os.getuid()).pw_name,
        folder=cluster.folder,
        nodes="\n".join(lines),
    )
    (cluster.folder / "slurm.conf").write_text(text)


def _munged_options(folder: Path) -> list[str]:
    # Without --force it refuses to run as root, or below a folder that other users cannot enter.
    return [
        "--force",
        f"--key-file={folder / 'munge.key'}",
        f"--socket={folder / 'munge.socket'}",
        f"--pid-file={folder / 'munged.pid'}",
        f"--seed-file={folder / 'munged.seed'}",
    ]


@contextmanager
def _daemon(
    cluster: Cluster, name: str, words: Sequence[object]
) -> Iterator["subprocess.Popen[bytes]"]:
    with (cluster.folder / f"{name}.log").open("wb") as log:
        # A session of its own: Ctrl-C is for the tests, whose end stops the daemons in order.
        # Should the tests be killed, the kernel stops them.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *map(str, words)],
            env=os.environ | cluster.environment | {"PATH": _PATH},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _are_idle(cluster: Cluster) -> bool:
    try:
        states = cluster.run("sinfo", "--noheader", "--Node", "--format=%T", timeout_s=5)
    except (ClusterError, subprocess.TimeoutExpired):
        return False
    return states.split() == ["idle"] * len(cluster.nodes)


def _wait_until_alive(
    cluster: Cluster, started: dict[str, "subprocess.Popen[bytes]"], is_ready: Callable[[], bool]
) -> None:
    def check() -> bool:
        dead = [name for name, process in started.items() if process.poll() is not None]
        if dead:
            raise ClusterError(f"{', '.join(dead)} exited at the start\n{cluster.log_ends()}")
        return is_ready()

    _wait_until(
        check,
        _START_S,
        lambda: f"the cluster is not up after {_START_S} s\n{cluster.log_ends()}",
    )


def _kill_jobs(cluster: Cluster) -> None:
    """Kill what runs on in jobs: it is no child of slurmd, and does not end with it."""

    def is_done() -> bool:
        processes = cluster.processes()
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        return not processes

    _wait_until(is_done, _STOP_S, lambda: f"not to be killed: {cluster.processes()}")


def _wait_until(is_true: Callable[[], bool], timeout_s: float, message: Callable[[], str]) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline:
            raise ClusterError(message())
        time.sleep(0.1)


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
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("", 0))
        return [probe.getsockname()[1] for probe in probes]
