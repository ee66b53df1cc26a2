"""The cluster that other tests submit to: arrays, dependencies, and a clean end."""

import shlex
import sys
import time
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, ClusterError, running_cluster

pytestmark = pytest.mark.slurm


def python(program: str) -> str:
    return f"--wrap={shlex.join([sys.executable, '-c', program])}"


def test_every_task_of_an_array_runs(cluster: Cluster, tmp_path: Path) -> None:
    program = "import os; print(os.environ['SLURM_ARRAY_TASK_ID'], os.environ['SLURMD_NODENAME'])"
    cluster.run("sbatch", "--wait", "--array=0-3", f"--output={tmp_path}/%a", python(program))
    tasks = {path.name: path.read_text().split() for path in tmp_path.iterdir()}
    assert {name: task for name, (task, _) in tasks.items()} == {n: n for n in "0123"}
    assert {node for _, node in tasks.values()} <= set(cluster.nodes)


def test_a_dependent_job_starts_after_the_whole_array(cluster: Cluster, tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys, time; task = os.environ['SLURM_ARRAY_TASK_ID']; time.sleep(1); "
        "pathlib.Path(f'{task}.done').touch(); sys.exit(task == '2')"
    )
    submit = ("sbatch", "--parsable", f"--chdir={tmp_path}")
    array = cluster.run(*submit, "--array=0-3", "--output=%a.out", python(program))
    after = python("import pathlib; print(*sorted(p.stem for p in pathlib.Path().glob('*.done')))")
    any_end = cluster.run(*submit, f"--dependency=afterany:{array}", "--output=any", after)
    success = cluster.run(*submit, f"--dependency=afterok:{array}", "--output=ok", after)
    cluster.wait(array, any_end)
    assert (tmp_path / "any").read_text() == "0 1 2 3\n"
    # Task 2 failed, so this job never starts.
    assert cluster.queue()[success].split()[0] == "PENDING"
    cluster.run("scancel", success)
    cluster.wait(success)
    assert not (tmp_path / "ok").exists()


def test_waiting_ends_with_what_the_queue_says(cluster: Cluster) -> None:
    job = cluster.run("sbatch", "--parsable", "--hold", "--output=/dev/null", python("pass"))
    with pytest.raises(ClusterError, match=rf"(?s)'{job}': 'PENDING JobHeldUser'.*--- slurmctld"):
        cluster.wait(job, timeout_s=0.3)
    cluster.run("scancel", job)
    cluster.wait(job)


def interrupt(own: Cluster) -> None:
    """Ctrl-C while a job runs."""
    sleep = "import pathlib, time; pathlib.Path('started').touch(); time.sleep(600)"
    own.run("sbatch", "--output=/dev/null", f"--chdir={own.folder}", python(sleep))
    deadline = time.monotonic() + 60
    while not (own.folder / "started").exists():
        assert time.monotonic() < deadline, own.log_ends()
        time.sleep(0.1)
    names = {process.name() for process in own.processes()}
    assert names >= {"munged", "slurmctld", "slurmd", "slurmstepd"}
    raise KeyboardInterrupt


@pytest.mark.usefixtures("cluster")  # skips where this one could not start either
def test_an_interrupted_cluster_leaves_no_process(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), running_cluster(tmp_path, node_count=1) as own:
        interrupt(own)
    assert Cluster(tmp_path.resolve(), ("n1",)).processes() == set()
