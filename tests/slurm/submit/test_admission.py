"""What is refused on the login node, by what sinfo says of a cluster that has GPUs."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import PreflightError, UserError
from slurm.submit import admission, partitions, refusal
from slurm.submit.batch_script import Request
from slurm.submit.partitions import Partition, draft, parse_sinfo
from slurm.submit.site_profile import Site, load_site

SINFO = """\
gpu*|up|2-00:00:00|1-8|10/2/1/13|64|480000|gpu:a100:8(S:0-1)|a100,ib|gpu[01-13]
gpu*|up|2-00:00:00|1-8|0/1/1/2|32|240000|gpu:a100:4,nvme:1|a100|old[1-2]
cpu|up|infinite|1-infinite|4/4/0/8|32|128000|(null)|(null)|c[1-8]
down|inact|1:00:00|1-infinite|0/0/0/0|0|0|(null)|(null)|
"""
GPU, CPU, DOWN = parse_sinfo(SINFO)
OLD = replace(GPU, groups=(*GPU.groups[1:], *CPU.groups))
REQUEST = Request(
    cluster="slurm",
    name="m48",
    nodes=8,
    tasks_per_node=8,
    gpus_per_node=8,
    cpus_per_task=6,
    time_min=1440,
    log_folder=Path("logs"),
    code_folder=Path("code"),
    python="python3",
)


def test_sinfo_is_read() -> None:
    assert (GPU.name, GPU.is_default, GPU.longest_min, GPU.most_nodes) == ("gpu", True, 2880, 8)
    assert (GPU.nodes, GPU.gpus_per_node) == (15, 8)
    first, second = GPU.groups
    assert (first.nodes, first.down, first.cpus, first.gpus) == (13, 1, 64, 8)
    assert (second.gpus, second.gpu_kind, first.features) == (4, "a100", ("a100", "ib"))
    assert (CPU.longest_min, CPU.most_nodes, CPU.gpus_per_node) == (None, None, 0)
    assert (DOWN.is_up, DOWN.nodes) == (False, 0)


@pytest.mark.parametrize(
    ("change", "partition", "text"),
    [
        ({"nodes": 20}, GPU, "--nodes 20: partition gpu has 15 nodes; use at most --nodes 15"),
        ({"nodes": 9}, GPU, "gives a job at most 8 nodes; use --nodes 8"),
        ({"nodes": 20, "min_nodes": 16}, GPU, "--nodes 16-20: partition gpu has 15 nodes"),
        ({"time_min": 4000}, GPU, "over partition gpu's limit of 2-00:00:00"),
        (
            {"gpus_per_node": 16},
            GPU,
            "no node of partition gpu has 16 GPUs.* use --gpus-per-node 8",
        ),
        ({"nodes": 3, "gpus_per_node": 4}, OLD, "2 nodes of partition gpu, and not 3, have 4"),
        ({}, CPU, "8 GPUs .its 8 nodes have 0.; use a partition that has GPUs, or device=cpu"),
        ({"cpus_per_task": 9}, GPU, "need 72 CPUs.*use data.decode_threads=6, or cpus_per_task: 8"),
        ({}, DOWN, "partition=down has no nodes"),
    ],
)
def test_what_a_partition_cannot_give(change: dict, partition: Partition, text: str) -> None:
    with pytest.raises(UserError, match=text):
        admission.check_partition(replace(REQUEST, **change), partition)


def test_what_it_can_give(capsys: pytest.CaptureFixture[str]) -> None:
    admission.check_partition(REQUEST, GPU)
    elastic = replace(REQUEST, nodes=20, min_nodes=4)
    admission.check_partition(elastic, GPU)
    assert capsys.readouterr().err == ""
    [group, _] = GPU.groups
    broken = replace(GPU, groups=(replace(group, down=7),))
    admission.check_partition(REQUEST, broken)
    assert "6 of 13 fitting nodes are up: the job waits" in capsys.readouterr().err


def test_partitions_by_name() -> None:
    everything = (GPU, CPU)
    assert admission.partition_of(Site(), everything) is GPU
    assert admission.partition_of(Site(partition="cpu"), everything) is CPU
    assert admission.partition_of(Site(partition="cpu,gpu"), everything) is None
    with pytest.raises(UserError, match=r"partition=gpus: .* it has gpu, cpu"):
        admission.partition_of(Site(partition="gpus"), everything)


def test_accounts() -> None:
    admission.check_account(Site(account="a"), ("a", "b"))
    admission.check_account(Site(account="a"), None)
    with pytest.raises(UserError, match=r"account=c: .* you have a, b"):
        admission.check_account(Site(account="c"), ("a", "b"))


@pytest.mark.parametrize("minutes", [1, 3])
def test_a_limit_below_the_margin(minutes: int) -> None:
    admission.check_time(4, "--time 4 is 4 minutes")
    with pytest.raises(UserError, match=r"--time 1:30 is 1 minute 30 .* use at least 00:04:00"):
        admission.check_time(minutes, "--time 1:30 is 1 minute 30 seconds")


HERE = socket.gethostname().partition(".")[0]


@pytest.mark.parametrize(
    ("mount", "kind", "path", "why"),
    [
        ("/", "ext4", "/tmp/runs", "in this machine's own /tmp"),
        ("/tmp", "xfs", "/tmp/runs", "in this machine's own /tmp"),
        ("/tmp", "tmpfs", "/tmp/runs", "on a tmpfs in this machine's memory"),
        ("/dev/shm", "tmpfs", "/dev/shm/a/runs", "on a tmpfs"),
        ("/tmp", "nfs4", "/tmp/runs", None),
        ("/tmp/shared", "lustre", "/tmp/shared/runs", None),
        ("/", "ext4", "/data/ada/runs", None),
    ],
)
def test_folders_that_nodes_do_not_see(
    mount: str, kind: str, path: str, why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_mounts", lambda: {"/": "ext4", mount: kind})
    monkeypatch.setattr(admission, "read_hosts", lambda name: ("n1", "n2"))
    if why is None:
        admission.check_seen_by_nodes("run folder", Path(path), GPU)
        return
    with pytest.raises(UserError, match=why):
        admission.check_seen_by_nodes("run folder", Path(path), GPU)
    monkeypatch.setattr(admission, "read_hosts", lambda name: (HERE,))
    admission.check_seen_by_nodes("run folder", Path(path), GPU)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file/z/run", "file is a file"),
        ("link/run", "on a file system for the kernel's own files"),
        ("new/deep/run", None),
    ],
)
def test_folders_that_cannot_be_made(place: str, why: str | None, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/proc")
    before = sorted(tmp_path.rglob("*"))
    if why is None:
        admission.check_writable(tmp_path / place, "new/deep")
    else:
        with pytest.raises(UserError, match=f"runs_root=x: cannot be .*{why}.; set runs_root="):
            admission.check_writable(tmp_path / place, "x")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_host_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(admission, "_mounts", lambda: {"/": "ext4"})
    admission.check_seen_by_nodes("run folder", Path("/tmp/runs"), None)
    assert "warning: run folder /tmp/runs is in this machine's own /tmp" in capsys.readouterr().err


def test_a_drafted_profile_loads(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(draft((GPU, CPU), ("vision", "speech")))
    site, _ = load_site(str(path), {})
    assert site == Site(
        partition="gpu", account="vision", gres="gpu:a100:8", cpus_per_task=4, time="1-00:00:00"
    )
    assert "or speech" in path.read_text() and "cpu: no limit; c[1-8]: 32 CPUs" in path.read_text()
    path.write_text(draft((CPU,), None))
    assert load_site(str(path), {})[0] == Site(partition="cpu")


@pytest.mark.parametrize(
    ("said", "kind", "parts"),
    [
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition "
            "combination specified",
            UserError,
            ["Slurm refuses the job: Invalid account or", "SBATCH_ACCOUNT; there are vision"],
        ),
        (
            "sbatch: error: invalid partition specified: x\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            UserError,
            ["invalid partition specified: x; Invalid partition name", "there are gpu, cpu, down"],
        ),
        (
            "sbatch: error: Batch job submission failed: Job dependency problem",
            UserError,
            ["Job dependency problem; --after names no job"],
        ),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller "
            "(connect failure)",
            PreflightError,
            ["controller does not answer: SLURM_CONF points to", "see `scontrol ping`"],
        ),
        (
            "sbatch: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n"
            "sbatch: fatal: Could not establish a configuration source",
            UserError,
            ["not to be found from this shell: SLURM_CONF points to", "ask on a login node"],
        ),
        ("", UserError, ["no reason given"]),
    ],
)
def test_sbatchs_refusals(
    said: str,
    kind: type[Exception],
    parts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    conf = tmp_path / "slurm.conf"
    conf.touch()
    monkeypatch.setenv("SLURM_CONF", str(conf))
    monkeypatch.setattr(refusal, "read_accounts", lambda: ("vision",))
    monkeypatch.setattr(refusal, "read_partitions", lambda: (GPU, CPU, DOWN))
    error = refusal.refused(said)
    assert type(error) is kind
    for part in parts:
        assert part in str(error)


def test_without_slurm_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert partitions.read_hosts("gpu") is None
