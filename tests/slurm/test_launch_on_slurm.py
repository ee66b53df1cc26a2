"""The launcher on a real cluster: what it submits, what it refuses, and which code runs."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.tracking.run_folder import RunFolder
from slurm.records import read_jobs
from tests.slurm.cluster import Cluster, wait_until

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "train.max_steps=4",
    "train.global_batch=180",
    "train.micro_batch=60",
    "engine.cpu_tasks=1",
    "engine.dtype=fp32",
    "model.metaformer.depths=[1,1]",
    "model.metaformer.dims=[16,24]",
    "tracking.uri=journal",
]
MARK = "the snapshot is at work"
Launch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def words(digit_shards: Path, tmp_path: Path) -> list[str]:
    """A small training in this test's folder, as its user types it."""
    where = [f"data.root={digit_shards}", f"runs_root={tmp_path / 'runs'}"]
    return ["slurm/launch.py", "configs/digits.yaml", "--name", "small", *where, *SMALL]


@pytest.fixture
def launch(cluster: Cluster, words: list[str], command: Launch, tmp_path: Path) -> Iterator[Launch]:
    """Type it with further words, and variables of the environment."""

    def run(*more: object, **env: str) -> "subprocess.CompletedProcess[str]":
        own = {"XDG_CONFIG_HOME": str(tmp_path / "config"), **cluster.environment}
        return command(*words, *more, **(own | env))

    yield run
    left = cluster.queue()
    if left:
        cluster.run("scancel", *left)
        cluster.wait(*left)


@pytest.fixture
def closed(cluster: Cluster) -> Iterator[None]:
    """No job starts."""
    cluster.run("scontrol", "update", "PartitionName=test", "State=DOWN")
    yield
    cluster.run("scontrol", "update", "PartitionName=test", "State=UP")


def logs(folder: RunFolder) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.logs.glob("*_log.*")))


def test_from_inside_an_allocation_the_snapshot_trains(
    launch: Launch, words: list[str], cluster: Cluster, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "runs/small")
    shown = json.loads(launch("--nodes", "2", "--dry-run", "--json").stdout)
    assert shown["plan"]["world_size"] == 2 and not folder.path.exists()
    cluster.run("scontrol", "update", "PartitionName=test", "State=DOWN")
    try:
        # An allocation of another shape, in the partition that still starts jobs.
        outer = ["srun", "--partition=urgent", "--nodes=1", "--ntasks=1", "--cpus-per-task=2"]
        told = cluster.run(*outer, sys.executable, *words, "--nodes", "2", "--json")
        job = json.loads(told)["job_id"]
        assert job in cluster.queue()
        script = (folder.logs / f"{job}_submission.sh").read_text()
        assert script == shown["sbatch"], "the dry run's text is what is submitted"
        [snapshot] = folder.code.iterdir()
        with (snapshot / "slurm/job.py").open("a") as file:
            file.write(f"\nprint({MARK!r}, __file__)\n")
    finally:
        cluster.run("scontrol", "update", "PartitionName=test", "State=UP")
    [record] = read_jobs(folder)
    assert (record.job_id, record.stage, record.nodes) == (job, "train", "2")
    assert record.command.startswith("python slurm/launch.py configs/digits.yaml --name small")
    cluster.wait(job, timeout_s=120)
    text = logs(folder)
    assert text.count(f"{MARK} {snapshot}/slurm/job.py") >= 2, text
    assert "2 rank(s) on cpu" in text and "(finished)" in text


def test_a_job_without_its_snapshot_says_so(
    launch: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "runs/small")
    cluster.run("scontrol", "update", "PartitionName=test", "State=DOWN")
    try:
        job = json.loads(launch("--json").stdout)["job_id"]
        [snapshot] = folder.code.iterdir()
        snapshot.rename(tmp_path / "moved")
    finally:
        cluster.run("scontrol", "update", "PartitionName=test", "State=UP")
    cluster.wait(job)
    assert f"the job's code is gone: {Path('/etc/hostname').read_text().strip()}" in logs(folder)
    shown = cluster.run("scontrol", "show", "job", job)
    assert "JobState=FAILED" in shown and "ExitCode=2:0" in shown


@pytest.mark.usefixtures("closed")
def test_a_second_job_on_a_run_folder_is_refused(
    launch: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    first = launch("--nodes", "2", "--time", "1:00:00")
    assert first.returncode == 0, first.stderr
    found = re.search(r"submitted job (\d+): 2 ranks on 2 node\(s\)", first.stderr)
    assert found and f"python slurm/jobs.py logs -f {tmp_path}/runs/small" in first.stderr
    job = found[1]
    second = launch("--nodes", "2")
    assert second.returncode == 2 and f"job {job} trains there, or waits to" in second.stderr
    # One that waits for it is none beside it.
    after = launch("--after", job, "--json", "elastic.min_nodes=2", "elastic.max_nodes=3")
    assert after.returncode == 0, after.stderr
    shown = cluster.run("scontrol", "show", "job", json.loads(after.stdout)["job_id"])
    assert f"Dependency=afterok:{job}" in shown, shown
    cluster.run("scancel", job)
    # Its awaited job has failed: it does not wait forever.
    cluster.wait(json.loads(after.stdout)["job_id"])
    again = launch("--after", job)
    assert again.returncode == 2 and "that job has ended, CANCELLED" in again.stderr
    assert launch().returncode == 0


@pytest.mark.parametrize(
    ("more", "env", "text"),
    [
        (
            ["--nodes", "9", "train.micro_batch=20"],
            {},
            "partition test has 8 nodes; use at most --nodes 8",
        ),
        ([], {"SBATCH_PARTITION": "gpu"}, "it has test, urgent"),
        ([], {"SBATCH_ACCOUNT": "vision"}, "account=vision: you have no such account"),
        (["--partition", "gpu"], {"SBATCH_PARTITION": "test"}, "it has test, urgent: give --part"),
        (["--time", "1:30"], {}, "--time 1:30 is 1 minute 30 seconds: Slurm warns"),
        ([], {"SLURM_CONF": "/nowhere/slurm.conf"}, "which is no file; set it, or ask on a login"),
        (["--nodes", "4"], {}, "use at most 3 ranks"),
        (
            ["engine.cpu_tasks=4", "train.micro_batch=15"],
            {},
            "cpus_per_task: 2 in the site profile",
        ),
        (["--after", "999999"], {}, "--after 999999: Slurm knows no such job of yours"),
        ([], {"SBATCH_CONSTRAINT": "moon"}, "features that constraint may name"),
    ],
)
def test_mistakes_are_told_on_the_login_node(
    more: list[str],
    env: dict[str, str],
    text: str,
    launch: Launch,
    cluster: Cluster,
    tmp_path: Path,
) -> None:
    done = launch(*more, **env)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert text in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not cluster.queue()
    assert not (tmp_path / "runs/small").exists(), "a refusal leaves nothing"


def test_all_mistakes_are_told_together(launch: Launch) -> None:
    done = launch("--nodes", "9", "--time", "2", "train.micro_batch=20", "--account", "vision")
    assert done.returncode == 2
    for part in ("3 things are in the", "\n- --time 2", "\n- --nodes 9", "\n- account=vision"):
        assert part in done.stderr, done.stderr


def test_a_run_goes_on_until_it_is_finished(
    launch: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    store = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    job = json.loads(launch(store, "--json").stdout)["job_id"]
    cluster.wait(job, timeout_s=120)
    folder = RunFolder(tmp_path / "runs/small")
    assert not folder.cursor.exists()  # a job leaves a SQLite file alone
    again = launch(store, "--json", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert again.returncode == 0 and not cluster.queue()
    assert "run small is finished (4 steps): nothing to do" in again.stderr
    assert json.loads(again.stdout)["job_id"] is None
    # The login node brings what is missing, while its user goes on.
    log = tmp_path / "cache/imagenet-pipeline/sync.log"
    wait_until(lambda: "points to sqlite" in log.read_text(), 60, log.read_text)
    assert (tmp_path / "mlflow.db").is_file()
    longer = launch("train.max_steps=5")
    assert longer.returncode == 0 and "it goes on after step 4" in longer.stderr, longer.stderr


def test_a_profile_is_followed(launch: Launch, cluster: Cluster, tmp_path: Path) -> None:
    profile = tmp_path / "config/imagenet-pipeline/site.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text('partition: urgent\naccount: research\ntime: "30"\nexclude: [n1]\n')
    done = launch("--json", "--nodes", "2")
    assert done.returncode == 0 and f"site profile {profile}" in done.stderr, done.stderr
    job = json.loads(done.stdout)["job_id"]
    shown = cluster.run("scontrol", "show", "job", job)
    for part in ("Partition=urgent", "Account=research", "TimeLimit=00:30:00", "ExcNodeList=n1"):
        assert part in shown, shown
