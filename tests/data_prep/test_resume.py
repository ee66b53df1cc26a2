"""Runs that are repeated, killed, stopped, doubled or that find damage."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.durable import only_writer
from data_prep.writing.out_folder import claim, opened, release
from pipeline.shards import open_split, read_manifest

ROOT = Path(__file__).parents[2]
FLAGS = ("--samples-per-shard", 5, "--check", "header", "--workers", 1)

Shard = Callable[..., Any]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def out(pets: Path, tmp_path: Path, shard: Shard) -> Path:
    assert shard(pets, tmp_path / "out", *FLAGS).code == 0
    return tmp_path / "out"


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_second_run_has_nothing_to_do(out: Path, pets: Path, shard: Shard) -> None:
    before = stamps(out)
    ran = shard(pets, out, *FLAGS)
    assert ran.code == 0
    assert "nothing to do" in ran.err
    assert stamps(out) == before


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [Path.unlink, truncate])
@pytest.mark.parametrize(
    "name",
    [
        "pets-train-0002.tar",
        "pets-validation-0001.idx",
        "pets-train.samples.npy",
        "pets-validation.names.bin",
        "_info.json",
        "sizes.json",
    ],
)
def test_damage_is_repaired_to_the_byte(
    out: Path, pets: Path, shard: Shard, contents: Contents, name: str, damage: Callable[..., None]
) -> None:
    whole = contents(out)
    damage(out / name)
    untouched = stamps(out)
    ran = shard(pets, out, *FLAGS)
    assert ran.code == 0, ran.err
    assert "nothing to do" not in ran.err
    assert contents(out) == whole
    # A tar comes with its index, the sample rows with the names.
    again = {other for other in whole if other.split(".")[0] == name.split(".")[0]}
    assert {n for n, when in stamps(out).items() if when != untouched.get(n)} <= again


def test_lost_side_files_and_a_lost_shard_come_back_together(
    pets: Path, tmp_path: Path, shard: Shard, contents: Contents
) -> None:
    (pets / "train" / "ant" / "bad.jpg").write_bytes(b"no image")
    (pets / "train" / "ant" / "twin.jpg").write_bytes((pets / "train/bee/bee_1.jpg").read_bytes())
    out = tmp_path / "out"
    assert shard(pets, out, *FLAGS).code == 0
    whole, before = contents(out), stamps(out)
    (out / "pets-train.samples.npy").unlink()
    (out / "pets-train-0001.idx").unlink()
    truncate(out / "pets-train-0002.tar")
    ran = shard(pets, out, *FLAGS, "--json")
    assert ran.code == 0, ran.err
    assert contents(out) == whole
    assert ran.json["shards_written"] == 1
    written = {name for name, when in stamps(out).items() if when != before[name]}
    assert {name for name in written if name.endswith(".tar")} == {"pets-train-0002.tar"}


def test_a_lost_manifest_is_not_guessed(out: Path, pets: Path, shard: Shard) -> None:
    (out / "manifest.json").unlink()
    ran = shard(pets, out, *FLAGS)
    assert ran.code == 2
    assert "and no manifest.json that says what they are" in ran.err


def test_a_shard_that_cannot_come_back_the_same_is_refused(
    out: Path, pets: Path, shard: Shard
) -> None:
    image = pets / "val" / "ant" / "ant_7.jpg"
    image.write_bytes(image.read_bytes()[:-3] + b"abc")
    (out / "pets-validation-0000.tar").unlink()
    ran = shard(pets, out, *FLAGS)
    assert ran.code == 4
    assert "images changed under their old names and sizes" in ran.err
    assert not (out / "pets-validation-0000.tar").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--seed", 1), "--seed 0, now 1"),
        (("--check", "full"), "--check header, now full"),
        (("--samples-per-shard", 7), "--shards 5, now 3"),
        (("--name", "dogs"), "--name dogs: "),
    ],
)
def test_other_settings_are_refused(
    out: Path, pets: Path, shard: Shard, flags: tuple[Any, ...], said: str
) -> None:
    before = stamps(out)
    ran = shard(pets, out, *FLAGS, *flags)
    assert ran.code == 2
    assert said in ran.err
    assert "another OUT" in ran.err
    assert stamps(out) == before


def test_a_changed_source_is_refused_by_name(out: Path, pets: Path, shard: Shard) -> None:
    ant = pets / "train" / "ant"
    (ant / "ant_0.jpg").rename(ant / "new.jpg")
    with (ant / "ant_1.jpg").open("ab") as file:
        file.write(b"more")
    ran = shard(pets, out, *FLAGS)
    assert ran.code == 2
    for said in ("1 file added (ant/new.jpg)", "1 file removed (ant/ant_0.jpg)", "ant/ant_1.jpg)"):
        assert said in ran.err


def test_other_classes_for_a_second_split_are_refused(
    pets: Path, tmp_path: Path, shard: Shard
) -> None:
    out = tmp_path / "two"
    assert shard(pets / "val", out, "--split", "validation", *FLAGS).code == 0
    (pets / "train" / "bee").rename(pets / "train" / "wasp")
    ran = shard(pets / "train", out, *FLAGS)
    assert ran.code == 4
    assert "holds validation with labels in 3 classes" in ran.err


def start(pets: Path, out: Path, *flags: str) -> "subprocess.Popen[str]":
    command = [sys.executable, ROOT / "data_prep" / "shard.py", pets, out, *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("number", "workers", "code"),
    [(signal.SIGKILL, "2", -9), (signal.SIGTERM, "1", 143), (signal.SIGINT, "2", 130)],
)
def test_a_stopped_run_continues_to_the_same_bytes(
    pets: Path,
    tmp_path: Path,
    shard_process: Shard,
    contents: Contents,
    number: signal.Signals,
    workers: str,
    code: int,
) -> None:
    flags = ("--shards", "9", "--check", "header", "--workers", workers)
    for copy in range(60):
        for i in range(7):
            image = (pets / "train" / "bee" / f"bee_{i}.jpg").read_bytes()
            (pets / "train" / "bee" / f"more_{copy}_{i}.jpg").write_bytes(image)
    assert shard_process(pets, tmp_path / "whole", *flags).code == 0
    out = tmp_path / "out"
    process = start(pets, out, *flags)
    wait_for(out / ".work-train" / "0000.npz")
    os.killpg(process.pid, number)  # as a terminal's Ctrl-C and Slurm do
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert not (out / "manifest.json").exists()
    if number != signal.SIGKILL:
        assert [
            line for line in err.splitlines() if not line.startswith(("sharding ", "SOURCE="))
        ] == [
            f"stopped by {number.name}; whole shards are kept: "
            "run the same command again to continue"
        ]
        assert not list(out.rglob("*.tmp"))
    (out / ".pets-train-0003.tar.1-ab.tmp").write_bytes(b"left by a killed run")
    kept = (out / "pets-train-0000.tar").stat().st_mtime_ns
    ran = shard_process(pets, out, *flags)
    assert ran.code == 0, ran.err
    assert "images are in whole shards already" in ran.err
    assert (out / "pets-train-0000.tar").stat().st_mtime_ns == kept
    assert contents(out) == contents(tmp_path / "whole")


def test_a_second_writer_is_refused_by_name(out: Path, pets: Path, shard: Shard) -> None:
    with only_writer(out):
        ran = shard(pets, out, *FLAGS)
    assert ran.code == 2
    assert f"process {os.getpid()} on {os.uname().nodename} is writing there" in ran.err
    assert shard(pets, out, *FLAGS).code == 0


def test_records_are_kept_when_the_budget_is_exceeded(
    pets: Path, tmp_path: Path, shard: Shard
) -> None:
    out = tmp_path / "out"
    for name in ("a", "b"):
        (pets / "train" / "ant" / f"{name}.jpg").write_bytes(b"no image")
    assert shard(pets, out, *FLAGS).code == 4
    assert not (out / "manifest.json").exists()
    ran = shard(pets, out, *FLAGS, "--max-bad", 2, "--json")
    assert ran.code == 0
    assert ran.json["shards_written"] == 0
    assert [bad.name for bad in read_manifest(out).splits["train"].quarantine] == [
        "ant/a.jpg",
        "ant/b.jpg",
    ]
    assert len(open_split(out, "train")) == 21


def test_what_submitted_jobs_are_writing_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with opened(out):
        claim(out, ["1", "2"])
        half = out / ".pets-train-0000.tar.1-ab.tmp"
        half.write_bytes(b"begun by a task that started at once")
    assert half.exists()
    with opened(out, as_job=True):
        assert not half.exists(), "they have ended when the last job runs"
        release(out)
