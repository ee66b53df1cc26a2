"""``shard.py --nodes`` on a real cluster: the bytes of a single worker, and errors told."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.shards import read_manifest
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm

Command = Callable[..., "subprocess.CompletedProcess[str]"]
FLAGS = ("--check", "header", "--samples-per-shard", "4")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An image folder of 40 files that a header check accepts."""
    from PIL import Image

    for i in range(40):
        path = tmp_path / "pets" / "train" / ("ant", "bee")[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + i, 16), (i, 2 * i, 3 * i)).save(path)
    return tmp_path / "pets"


@pytest.fixture
def shard(command: Command, cluster: Cluster) -> Command:
    def run(*args: object) -> "subprocess.CompletedProcess[str]":
        return command("data_prep/shard.py", *args, *FLAGS, **cluster.environment)

    return run


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def logs(out: Path) -> str:
    texts = [
        path.read_text() for path in (out.with_name(f"{out.name}.jobs") / "logs").glob("*.out")
    ]
    return "\n".join(texts)


def test_two_nodes_write_the_bytes_of_one_worker(
    source: Path, tmp_path: Path, shard: Command, cluster: Cluster
) -> None:
    alone, out = tmp_path / "alone", tmp_path / "out"
    assert shard(source, alone, "--workers", "1").returncode == 0
    done = shard(source, out, "--nodes", "2", "--report", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    second = shard(source, out)
    assert second.returncode == 2, "the array holds OUT"
    assert f"the Slurm jobs {told['array']} and {told['last']} write there" in second.stderr
    cluster.wait(told["array"], told["last"], timeout_s=120)
    assert logs(out).count("wrote 5 shards") == 2, "each task wrote its half"
    written = files(out)
    assert written.pop("report.html").startswith(b"<!DOCTYPE html>")
    assert written == files(alone)
    again = shard(source, out, "--nodes", "2")
    assert again.returncode == 0
    assert "nothing to do" in again.stderr


def test_a_task_that_fails_is_told_and_the_rest_is_kept(
    source: Path, tmp_path: Path, shard: Command, cluster: Cluster
) -> None:
    out = tmp_path / "out"
    cluster.run("scontrol", "update", "PartitionName=test", "State=DOWN")
    try:
        told = json.loads(shard(source, out, "--nodes", "2", "--workers", "1", "--json").stdout)
        image = source / "train" / "ant" / "0.jpg"
        content = image.read_bytes()
        image.unlink()
    finally:
        cluster.run("scontrol", "update", "PartitionName=test", "State=UP")
    cluster.wait(told["array"], told["last"], timeout_s=120)
    assert not (out / "manifest.json").exists()
    assert "0.jpg cannot be read (No such file or directory)" in logs(out)
    assert "were not written: the logs in" in logs(out)
    image.write_bytes(content)
    done = shard(source, out, "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert 1 <= json.loads(done.stdout)["shards_written"] < 10, "whole shards were kept"
    assert read_manifest(out).splits["train"].samples == 40


def test_a_cancelled_array_leaves_out_free(
    source: Path, tmp_path: Path, shard: Command, cluster: Cluster
) -> None:
    out = tmp_path / "out"
    cluster.run("scontrol", "update", "PartitionName=test", "State=DOWN")
    try:
        told = json.loads(shard(source, out, "--nodes", "2", "--json").stdout)
        cluster.run("scancel", told["array"], told["last"])
        cluster.wait(told["array"], told["last"])
    finally:
        cluster.run("scontrol", "update", "PartitionName=test", "State=UP")
    assert shard(source, out, "--workers", "1").returncode == 0


def test_without_slurm_nodes_are_refused(source: Path, tmp_path: Path, command: Command) -> None:
    done = command("data_prep/shard.py", source, tmp_path / "out", "--nodes", "2", PATH="/nowhere")
    assert done.returncode == 2
    assert "--nodes 2 needs Slurm, and there is no sbatch here" in done.stderr
    assert not (tmp_path / "out").exists()
