"""The cluster's processes: daemons that outlive who started them, and what jobs leave behind.

Nothing is remembered of them: a process is known by its environment, so that also a cluster whose
starter was killed can be found whole and taken down.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

# A user's PATH often lacks the folders that hold the daemons.
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_MARK = "SLURM_TEST_DAEMON"
_KILL_S = 60


class ClusterError(RuntimeError):
    """A daemon or a command of the cluster failed, or something did not happen in time."""


def start_daemon(
    folder: Path, name: str, words: Sequence[object], environment: Mapping[str, str]
) -> None:
    """Start a daemon, which no end of this process ends; it writes to ``NAME.log``."""
    # Of a job that this process itself may be in, a daemon must know nothing.
    usual = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    with (folder / f"{name}.log").open("ab") as log:
        # --fork: no child of ours, so that none has to wait for it.
        subprocess.run(
            ["setsid", "--fork", *map(str, words)],
            env={**usual, **environment, "PATH": PATH, _MARK: f"{folder}:{name}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )


def owned(folder: Path) -> dict[psutil.Process, str]:
    """Every process of a cluster, and the daemon or node it belongs to; what controls tasks first.

    A node's are its slurmd, the slurmstepd of its jobs, and these jobs' own processes.
    """
    daemons: dict[psutil.Process, str] = {}
    tasks: dict[psutil.Process, str] = {}
    config = str(folder / "slurm.conf")
    for process, variables in _environments():
        # A shell with the cluster's SLURM_CONF is a user's; a node's name as well: a job's.
        if variables.get(_MARK, "").startswith(f"{folder}:"):
            daemons[process] = variables[_MARK].rpartition(":")[2]
        elif variables.get("SLURM_CONF") == config and "SLURMD_NODENAME" in variables:
            tasks[process] = variables["SLURMD_NODENAME"]
    for process, owner in (daemons | tasks).items():
        with suppress(psutil.Error):
            tasks |= dict.fromkeys(process.children(recursive=True), owner)
    return daemons | {process: owner for process, owner in tasks.items() if process not in daemons}


def kill(folder: Path, owner: str | None = None) -> int:
    """SIGKILL what belongs to a daemon or node, or all of the cluster; returns how many it were.

    Raises ClusterError if something is still there after a minute.
    """
    killed: set[psutil.Process] = set()

    def is_done() -> bool:
        found = [p for p, name in owned(folder).items() if owner in (None, name)]
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        killed.update(found)
        return not found

    wait_until(is_done, _KILL_S, lambda: f"not to be killed: {owned(folder)}")
    return len(killed)


def stop(folder: Path, daemon: str) -> None:
    """End a daemon in order, with SIGTERM; after a minute with SIGKILL."""
    found = [process for process, name in owned(folder).items() if name == daemon]
    for process in found:
        with suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(found, _KILL_S)
    kill(folder, daemon)


def wait_until(
    is_true: Callable[[], bool], timeout_s: float, message: Callable[[], str] | str
) -> None:
    """Poll ten times a second. Raises ClusterError with the message after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline:
            raise ClusterError(message if isinstance(message, str) else message())
        time.sleep(0.1)


def _environments() -> list[tuple[psutil.Process, dict[str, str]]]:
    found: list[tuple[psutil.Process, dict[str, str]]] = []
    for pid in psutil.pids():
        # Not psutil's environ(): it stops at the zeros that slurmstepd's new title leaves.
        with suppress(OSError, psutil.Error):
            text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="surrogateescape")
            pairs = (line.partition("=") for line in text.split("\0") if line)
            found.append((psutil.Process(pid), {name: value for name, _, value in pairs}))
    return found
