"""The cluster that other tests submit to: its accounting, its faults, and a clean end."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, ClusterError, running_cluster, wait_until
from tests.slurm.cluster.configuration import write_files

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def python(program: str) -> str:
    return f"--wrap={shlex.join([sys.executable, '-c', program])}"


def bash(program: str) -> str:
    return f"--wrap={program}"


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


def test_one_job_runs_on_eight_nodes_and_accounting_knows_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    # No name server knows n1, so tasks meet at the address.
    said = "$SLURMD_NODENAME $SLURM_LAUNCH_NODE_IPADDR"
    job = cluster.run(
        *("sbatch", "--parsable", "--nodes=8", f"--output={tmp_path}/out"),
        bash(f"srun --ntasks-per-node=1 bash -c 'echo {said}'"),
    )
    cluster.wait(job)
    assert sorted((tmp_path / "out").read_text().splitlines()) == [
        f"{node} 127.0.0.1" for node in cluster.nodes
    ]
    accounts = cluster.run("sacctmgr", "--noheader", "--parsable2", "show", "account")
    assert {line.split("|")[0] for line in accounts.splitlines()} >= {"research", "root"}
    assert attempts(cluster, job) == ["COMPLETED research 8"]


def attempts(cluster: Cluster, job: str) -> list[str]:
    """State, account and node count of each start of a job, once accounting knows its end."""
    rows: list[str] = []

    def is_told() -> bool:
        nonlocal rows
        words = ("--noheader", "--allocations", "--duplicates", "--parsable2", f"--jobs={job}")
        text = cluster.run("sacct", *words, "--format=State,Account,NNodes")
        rows = text.replace("|", " ").splitlines()
        return bool(rows) and "RUNNING" not in text and "PENDING" not in text

    wait_until(is_told, 20, lambda: f"sacct says {rows}")
    return rows


def test_an_unknown_account_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="Invalid account"):
        cluster.run("sbatch", "--account=nobody", bash("true"))


def submit_and_see_run(cluster: Cluster, output: Path, program: str, *words: str) -> str:
    submit = ("sbatch", "--parsable", f"--output={output}", "--open-mode=append")
    job = cluster.run(*submit, *words, bash(f"echo start; {program}"))
    wait_until(lambda: output.exists() and output.read_text() != "", 60, cluster.log_ends)
    return job


def test_an_urgent_job_takes_the_node_of_another(cluster: Cluster, tmp_path: Path) -> None:
    where = ("--exclusive", "--nodelist=n1")
    # The tasks get SIGTERM, and the batch script has time to queue the job again.
    program = "[ $SLURM_RESTART_COUNT ] || srun sleep 600 || scontrol requeue $SLURM_JOB_ID"
    job = submit_and_see_run(cluster, tmp_path / "out", f"{program}; sleep 1", *where)
    urgent = cluster.run(
        *("sbatch", "--parsable", "--partition=urgent", f"--output={tmp_path}/urgent", *where),
        bash(f"cat {tmp_path}/out"),
    )
    cluster.wait(urgent, job)
    assert attempts(cluster, job) == ["REQUEUED research 1", "COMPLETED research 1"]
    assert [(tmp_path / name).read_text().count("start") for name in ("urgent", "out")] == [1, 2]


def interrupt(own: Cluster) -> None:
    """Ctrl-C while a job runs."""
    sleep = "import pathlib, time; pathlib.Path('started').touch(); time.sleep(600)"
    own.run("sbatch", "--output=/dev/null", f"--chdir={own.folder}", python(sleep))
    wait_until((own.folder / "started").exists, 60, own.log_ends)
    names = {process.name() for process in own.processes()}
    assert names >= {"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmstepd"}
    raise KeyboardInterrupt


@pytest.mark.usefixtures("cluster")  # skips where this one could not start either
def test_an_interrupted_cluster_leaves_no_process(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), running_cluster(tmp_path, node_count=1) as own:
        interrupt(own)
    assert Cluster(tmp_path.resolve(), ("n1",)).processes() == set()


KILLED = """
import os, pathlib, signal, sys
from tests.slurm.cluster import running_cluster
with running_cluster(pathlib.Path(sys.argv[1]), node_count=1) as own:
    own.run("sbatch", "--output=/dev/null", "--wrap=sleep 600")
    print(len(own.processes()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.usefixtures("cluster")
def test_a_cluster_whose_tests_are_killed_ends_too(tmp_path: Path, command: Command) -> None:
    done = command("-c", KILLED, tmp_path)
    assert (done.returncode, int(done.stdout) > 5) == (-signal.SIGKILL, True), done.stderr
    left = Cluster(tmp_path.resolve(), ("n1",)).processes
    wait_until(lambda: not left(), 30, lambda: f"still there: {left()}")


@pytest.mark.usefixtures("cluster")
def test_the_tool_starts_mends_and_removes_a_cluster(tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "tool"

    def tool(verb: str, **env: str) -> "subprocess.CompletedProcess[str]":
        return command("-m", "tests.slurm.cluster", verb, "--folder", folder, **env)

    own = Cluster(folder, ("n1",))
    folder.mkdir()
    write_files(folder, own.nodes)
    own.start("munged")
    try:
        up = tool("up")
        assert up.returncode == 0 and "is not whole; starting it anew" in up.stderr, up.stderr
        assert "8 nodes are idle" in up.stderr
        assert f"export SLURM_CONF={folder}/slurm.conf" in up.stderr
        own.kill_node("n1")
        again = tool("up")
        assert again.returncode == 0 and f"runs already, in {folder}" in again.stderr
        assert "started n1 again" in again.stderr
        assert own.run("sinfo", "--noheader", "--format=%D %T", "--partition=test") == "8 idle"
    finally:
        # As typed in a shell that asks this cluster: the shell's own commands are no part of it.
        down = tool("down", SLURM_CONF=f"{folder}/slurm.conf")
    assert down.returncode == 0 and f"deleted {folder}" in down.stderr, down.stderr
    assert own.processes() == set() and not folder.exists()
    assert "nothing to do" in tool("down").stderr


def test_the_tool_says_what_to_install(tmp_path: Path, command: Command) -> None:
    # Paths to search are cut off inside, so that also a machine with all of it lacks it.
    program = (
        "import runpy; from tests.slurm.cluster import lifetime; lifetime.PATH = '/nowhere'; "
        "runpy.run_module('tests.slurm.cluster', run_name='__main__')"
    )
    done = command("-c", program, "up", "--folder", tmp_path / "tool")
    assert done.returncode == 2 and not (tmp_path / "tool").exists(), done.stderr
    assert "apt-get install" in done.stderr and "slurmdbd" in done.stderr


def test_the_tool_deletes_no_other_files(tmp_path: Path, command: Command) -> None:
    (tmp_path / "thesis.tex").touch()
    done = command("-m", "tests.slurm.cluster", "down", "--folder", tmp_path)
    assert done.returncode == 2 and "other files than a cluster's" in done.stderr
    assert (tmp_path / "thesis.tex").exists()
