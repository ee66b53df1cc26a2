"""What training talks to beside its own ranks: the MLflow server, and Slurm's commands."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from pipeline.tracking.store_uri import StoreUri, store_of_launch
from slurm.doctor.finding import Verdict, fail, ok, warn
from slurm.doctor.subject import Subject, existing

_MLFLOW_S = 3
_SLURM_S = 10
_SHARED_FILE_SYSTEMS = (
    *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "ceph", "9p", "afs", "panfs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.juicefs", "wekafs", "pvfs2"),
)
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_LATER = (
    "training goes on without it: `python -m pipeline.tracking sync RUN` ships the journal later; "
)
_COMMANDS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sacct")


def mlflow(subject: Subject) -> Verdict:
    """Whether this machine reaches the MLflow store that the run would ship its curves to."""
    job_id = "job" if subject.is_in_job else None
    store = store_of_launch(subject.config.tracking.uri, job_id, os.environ, Path.cwd())
    if store is None:
        return ok("journal only: curves are shipped from the login node, nothing to reach here")
    if store.sqlite_path is not None:
        return _sqlite(store.sqlite_path)
    return _http(store) if store.is_http else _database(store)


def file_system(folder: Path) -> str:
    """The type of the file system of an existing folder, such as ``ext4`` or ``lustre``."""
    path = str(folder.resolve())
    mounts = {p.mountpoint: p.fstype for p in psutil.disk_partitions(all=True)}
    around = [m for m in mounts if path == m or path.startswith(m.rstrip("/") + "/")]
    return mounts[max(around, key=len)] if around else "unknown"


def sqlite_verdict(path: Path, kind: str) -> Verdict:
    """kind: of the file system."""
    if kind in _SHARED_FILE_SYSTEMS:
        return warn(
            f"{path} is on {kind}, where SQLite's locks do not hold",
            "put it on a local disk (tracking.uri=sqlite:////tmp/mlflow.db), or use a server "
            "(MLFLOW_TRACKING_URI)",
        )
    return ok(f"{path} on a local disk ({kind})")


def slurm_commands(subject: Subject) -> Verdict:
    """Whether Slurm's commands are there and slurmctld answers, and who keeps the accounts."""
    missing = [command for command in _COMMANDS if shutil.which(command) is None]
    if missing and not subject.is_in_job:
        return warn(
            f"not on this machine: {', '.join(missing)}",
            "for Slurm use a login node, or `module load slurm`; --cluster local needs none",
        )
    if missing:
        return fail(
            f"not on this node: {', '.join(missing)}",
            "install slurm-client there: a job that is preempted queues itself again with them",
        )
    code, answer = _ask(["scontrol", "ping"])
    if code:
        # Without Slurm this machine can still train, with --cluster local.
        return (fail if subject.is_in_job else warn)(
            f"slurmctld does not answer ({answer or 'no text'})",
            "see `scontrol ping`; SLURM_CONF must name the site's slurm.conf, and munged must run",
        )
    code, answer = _ask(["sacct", "--noheader", "--allocations", "--starttime=now"])
    if code:
        return ok(f"slurmctld answers; no accounting ({answer}): the run folder tells what ended")
    return ok("slurmctld answers, accounting is on")


def _sqlite(path: Path) -> Verdict:
    return sqlite_verdict(path, file_system(existing(path.parent)))


def _http(store: StoreUri) -> Verdict:
    began = time.perf_counter()
    try:
        # The server may sit behind a path, and its /health needs no login.
        with urllib.request.urlopen(f"{store.uri}/health", timeout=_MLFLOW_S):
            pass
    except urllib.error.HTTPError as error:
        return warn(
            f"{store.shown} answers with HTTP {error.code} ({error.reason})",
            _LATER + "check MLFLOW_TRACKING_URI, and MLFLOW_TRACKING_USERNAME and _PASSWORD",
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return warn(
            f"{store.shown} is not reached from here ({reason})",
            _LATER + "to have curves meanwhile, start `mlflow server --host 0.0.0.0` where the "
            "nodes reach it, or open the firewall",
        )
    return ok(f"{store.shown} answers in {(time.perf_counter() - began) * 1e3:.0f} ms")


def _database(store: StoreUri) -> Verdict:
    address = urlsplit(store.uri)
    port = address.port or _PORTS.get(address.scheme.partition("+")[0], 0)
    try:
        with socket.create_connection((address.hostname or "localhost", port), timeout=_MLFLOW_S):
            return ok(f"{store.shown} takes connections")
    except OSError as error:
        return warn(
            f"{store.shown} is not reached from here ({error})",
            _LATER + "check host and port, and the database's and the site's firewall",
        )


def _ask(words: Sequence[str]) -> tuple[int, str]:
    """Exit code, and the words that were said last."""
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=_SLURM_S, stdin=subprocess.DEVNULL
    )
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    return done.returncode, lines[-1] if lines else ""
