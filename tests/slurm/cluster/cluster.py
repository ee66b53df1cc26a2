"""A running cluster: commands, waiting, and the faults that a cluster has."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.slurm.cluster.processes import ClusterError, kill, owned, start_daemon, stop, wait_until

_COMMAND_S = 60
_BACK_S = 60


@dataclass(frozen=True)
class Cluster:
    """A cluster by its folder, whoever started it."""

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
        wait_until(
            lambda: not any(wanted & {job, job.partition("_")[0]} for job in self.queue()),
            timeout_s,
            lambda: f"jobs {sorted(wanted)} are still queued: {self.queue()}\n{self.log_ends()}",
        )

    def node_states(self) -> dict[str, str]:
        """Slurm's state of each node: ``idle``, ``mixed``, ``idle*`` where it is silent, ..."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T", "--partition=test")
        return dict(line.split(maxsplit=1) for line in lines.splitlines())

    def kill_node(self, node: str) -> None:
        """SIGKILL a node's slurmd and all of its jobs there, as a power cut would.

        Unlike a power cut it closes their connections at once. Slurm itself takes 20 to 30 s to
        call the node down.
        """
        kill(self.folder, node)

    def start_node(self, node: str) -> None:
        """Bring a killed node back, and wait until jobs may start on it."""

        def facts() -> dict[str, str]:
            words = self.run("scontrol", "show", "node", node, "--oneliner").split()
            return {name: value for name, _, value in (word.partition("=") for word in words)}

        before = facts()["SlurmdStartTime"]
        self.start(node)
        wait_until(
            lambda: (
                facts()["SlurmdStartTime"] != before
                and self.node_states()[node] in ("idle", "mixed", "allocated")
            ),
            _BACK_S,
            lambda: f"{node} does not come back: {facts()}\n{self.log_ends()}",
        )

    def mend(self) -> list[str]:
        """Bring every dead node back; returns which."""
        dead = [node for node in self.nodes if node not in owned(self.folder).values()]
        for node in dead:
            self.start_node(node)
        return dead

    def restart_controller(self) -> None:
        """Stop slurmctld, start it again, and wait for it; jobs run on, and none is forgotten.

        It forgets the jobs of the last seconds where ``kill`` ends it.
        """
        stop(self.folder, "slurmctld")
        self.start("slurmctld")
        wait_until(self.answers, _BACK_S, lambda: f"slurmctld is silent\n{self.log_ends()}")

    def start(self, name: str) -> None:
        """Start a daemon (``munged``, ``mariadbd``, ``slurmdbd``, ``slurmctld``) or a node's."""
        # libmariadb, in slurmdbd, has no other way to learn of the socket.
        variables = self.environment | {"MYSQL_UNIX_PORT": str(self.folder / "mariadb.socket")}
        start_daemon(self.folder, name, self._words(name), variables)

    def kill(self, name: str) -> None:
        """SIGKILL a daemon."""
        kill(self.folder, name)

    def answers(self) -> bool:
        """Whether slurmctld does."""
        try:
            return "is UP" in self.run("scontrol", "ping", timeout_s=10)
        except (ClusterError, subprocess.TimeoutExpired):
            return False

    def processes(self) -> set[psutil.Process]:
        """Its daemons and its jobs."""
        return set(owned(self.folder))

    def log_ends(self, lines: int = 15) -> str:
        """The last lines that every daemon wrote."""
        ends: list[str] = []
        for path in sorted(self.folder.glob("*.log")):
            text = path.read_text(errors="replace").splitlines()
            ends += [f"--- {path.name}", *text[-lines:]]
        return "\n".join(ends)

    def _words(self, name: str) -> Sequence[object]:
        folder = self.folder
        if name == "munged":
            # Without --force it refuses to run as root, or below a folder closed to others.
            return [
                *("munged", "--foreground", "--force"),
                f"--key-file={folder}/munge.key",
                f"--socket={folder}/munge.socket",
                f"--pid-file={folder}/munged.pid",
                f"--seed-file={folder}/munged.seed",
            ]
        if name == "mariadbd":
            return ["mariadbd", f"--defaults-file={folder}/mariadb.cnf"]
        if name in ("slurmdbd", "slurmctld"):
            return [name, "-D"]
        return ["slurmd", "-D", "-N", name]
