"""Disks that are too small or fill up: a clear error, and the same command continues."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.data_prep.test_bad_input import FLAGS, refused

Shard = Callable[..., Any]
Tree = Callable[..., Path]


def test_a_file_system_that_is_full(pets: Path, tmp_path: Path, shard: Shard) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        ran = shard(pets, "out", *FLAGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    refused(ran, 2, "pets-train-0000.tar cannot be written (File too large)", "make room")
    assert not list((tmp_path / "out").rglob("*.t*"))
    assert shard(pets, "out", *FLAGS).code == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 8 MiB, which only root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def large_tree(tree: Tree, jpeg: Callable[..., bytes]) -> Path:
    """5 MB in 12 shards."""
    images = [jpeg(seed, 400, 300) for seed in range(4)]
    return tree({f"train/a/{i}.jpg": images[i % 4] + bytes([i]) for i in range(72)})


def test_a_disk_that_is_too_small_from_the_start(
    large_tree: Path, small_disk: Path, shard: Shard
) -> None:
    (small_disk / "other").write_bytes(bytes(4 << 20))
    refused(shard(large_tree, small_disk / "out", *FLAGS), 2, "the shards need about", "are free")
    (small_disk / "other").unlink()
    assert shard(large_tree, small_disk / "out", *FLAGS).code == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_up_meanwhile(
    large_tree: Path,
    small_disk: Path,
    tmp_path: Path,
    shard: Shard,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    flags = ("--shards", 12, "--check", "header", "--workers", workers)
    assert shard(large_tree, tmp_path / "whole", *flags).code == 0
    out = small_disk / "out"
    (small_disk / "other").write_bytes(bytes(4 << 20))
    with monkeypatch.context() as patch:
        # There was room when it began.
        patch.setattr("data_prep.job.shutil.disk_usage", lambda path: SimpleNamespace(free=1e12))
        ran = shard(large_tree, out, *flags)
    refused(ran, 2, "cannot be written (No space left on device)", "make room")
    assert not list(out.rglob("*.tmp"))
    (small_disk / "other").unlink()
    again = shard(large_tree, out, *flags)
    assert again.code == 0, again.err
    assert "images are in whole shards already" in again.err
    for path in (tmp_path / "whole").glob("*.tar"):
        assert (out / path.name).read_bytes() == path.read_bytes()
