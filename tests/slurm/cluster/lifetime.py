"""Starting a cluster, and taking all of it down."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.slurm.cluster.cluster import Cluster
from tests.slurm.cluster.configuration import ACCOUNT, user_name, write_files
from tests.slurm.cluster.processes import PATH, ClusterError, kill, owned, wait_until

NODE_COUNT = 8
_START_S = 90
_ROOT = Path(__file__).resolve().parents[3]
# The Debian package of each program that a cluster needs.
_PACKAGES = {
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    **dict.fromkeys(
        ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"),
        "slurm-client",
    ),
    "setsid": "util-linux",
}


def missing_programs() -> dict[str, str]:
    """The programs of a cluster that this machine lacks, each with its Debian package."""
    return {name: deb for name, deb in _PACKAGES.items() if not shutil.which(name, path=PATH)}


def how_to_install(missing: Mapping[str, str]) -> str:
    """``slurmd and munged, which are not on this machine; on Debian or Ubuntu: ...``."""
    debs = " ".join(sorted(set(missing.values())))
    verb = "which is" if len(missing) == 1 else "which are"
    return (
        f"{', '.join(missing)}, {verb} not on this machine; on Debian or Ubuntu: "
        f"apt-get install --no-install-recommends {debs}"
    )


@contextmanager
def running_cluster(folder: Path, node_count: int = NODE_COUNT) -> Iterator[Cluster]:
    """Start a cluster in an empty folder, and take all of it down at the end, however that comes.

    Raises ClusterError, with the ends of the logs, if its nodes are not idle in time.
    """
    folder = folder.resolve()
    # Takes the cluster down when its input ends: where we are killed, only others can.
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.slurm.cluster", "guard", "--folder", str(folder)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield start(folder, node_count)
    finally:
        kill(folder)
        guard.communicate(timeout=_START_S)


def start(folder: Path, node_count: int = NODE_COUNT) -> Cluster:
    """Start a cluster, in an empty folder, that outlives this process; wait until it is idle.

    Raises ClusterError, with the ends of the logs.
    """
    cluster = Cluster(folder, tuple(f"n{number}" for number in range(1, node_count + 1)))
    write_files(folder, cluster.nodes)
    cluster.start("munged")
    _install_database(folder)
    cluster.start("mariadbd")
    _wait(cluster, ["munged"], (folder / "munge.socket").exists)
    _wait(cluster, ["mariadbd"], (folder / "mariadb.socket").exists)
    cluster.start("slurmdbd")
    _wait(cluster, ["slurmdbd"], lambda: _succeeds(cluster, "sacctmgr", "show", "cluster"))
    for words in (
        ("cluster", "test"),
        ("account", ACCOUNT),
        ("user", user_name(), f"account={ACCOUNT}", f"defaultaccount={ACCOUNT}"),
    ):
        cluster.run("sacctmgr", "--immediate", "add", *words)
    daemons = ["slurmctld", *cluster.nodes]
    for name in daemons:
        cluster.start(name)
    _wait(
        cluster,
        daemons,
        lambda: cluster.answers() and set(cluster.node_states().values()) == {"idle"},
    )
    return cluster


def _install_database(folder: Path) -> None:
    done = subprocess.run(
        [
            "mariadb-install-db",
            f"--defaults-file={folder}/mariadb.cnf",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ],
        env=os.environ | {"PATH": PATH},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise ClusterError(f"mariadb-install-db exited with {done.returncode}: {done.stdout}")


def _wait(cluster: Cluster, daemons: Sequence[str], is_ready: Callable[[], bool]) -> None:
    silent: set[str] = set()

    def check() -> bool:
        nonlocal silent
        if is_ready():
            return True
        gone = set(daemons) - set(owned(cluster.folder).values())
        # Twice: in the moment of its exec a process has no environment to know it by.
        if gone & silent:
            raise ClusterError(f"{sorted(gone)} exited at the start\n{cluster.log_ends()}")
        silent = gone
        return False

    wait_until(
        check,
        _START_S,
        lambda: f"the cluster is not up after {_START_S} s\n{cluster.log_ends()}",
    )


def _succeeds(cluster: Cluster, *words: str) -> bool:
    try:
        cluster.run(*words)
    except ClusterError:
        return False
    return True
