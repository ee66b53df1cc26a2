"""Repair brings every byte back and leaves what is whole alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.shards import read_manifest
from tests.data_prep.conftest import Ran
from tests.data_prep.sources import miniatures
from tests.data_prep.verifying.damages import LASTING, NAMES, REPAIRABLE, ROWS, TAR, flip, swap

FLAGS = ("--samples-per-shard", 5, "--check", "header", "--workers", 1)
WNIDS = ["n02085620", "n01440764", "n03126707", "n01443537"]

Shard = Callable[..., Any]
Verify = Callable[..., Ran]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def out(pets: Path, tmp_path: Path, shard: Shard) -> Path:
    assert shard(pets, tmp_path / "out", *FLAGS).code == 0
    return tmp_path / "out"


def stamps(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.iterdir()}


@pytest.mark.parametrize("name", REPAIRABLE)
def test_every_byte_comes_back(
    out: Path, pets: Path, verify: Verify, contents: Contents, name: str
) -> None:
    damage = REPAIRABLE[name]
    whole, before = contents(out), stamps(out)
    damage.act(out)
    ran = verify(out, "--repair", pets)
    assert ran.code == 0, ran.out + ran.err
    assert ran.out.splitlines() == [
        f"repaired and verified again: {damage.file}",
        f"{out}: 30 samples in 7 shards are whole",
    ]
    assert contents(out) == whole
    written = {name for name, when in stamps(out).items() if when != before[name]}
    if damage.file in (ROWS, NAMES):  # a split's side files come from all of its shards
        assert all(name.startswith(damage.file.split(".")[0]) for name in written)
    else:
        assert written <= {damage.file, damage.file.replace(".tar", ".idx")}


def test_several_damages_at_once(out: Path, pets: Path, verify: Verify, contents: Contents) -> None:
    whole = contents(out)
    for name in ("tar of other samples", "index offset", "names missing", "sizes.json missing"):
        REPAIRABLE[name].act(out)
    ran = verify(out, "--repair", pets, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["repaired"] == [
        "pets-train-0001.tar",
        "pets-validation-0001.idx",
        "pets-validation.names.bin",
        "sizes.json",
    ]
    assert ran.json["problems"] == []
    assert contents(out) == whole


def test_nothing_is_written_where_nothing_is_broken(
    out: Path, tmp_path: Path, verify: Verify
) -> None:
    before = stamps(out)
    ran = verify(out, "--repair", tmp_path / "not looked at")
    assert ran.code == 0
    assert stamps(out) == before


def test_what_no_repair_helps_stays_a_problem(out: Path, pets: Path, verify: Verify) -> None:
    LASTING["foreign tar"].act(out)
    REPAIRABLE["tar cut"].act(out)
    ran = verify(out, "--repair", pets)
    assert ran.code == 4
    lines = ran.out.splitlines()
    assert lines[0] == f"repaired and verified again: {TAR}"
    assert lines[1].startswith("pets-train-9999.tar: is not in manifest.json")
    assert lines[2] == "1 problem in 1 file; no repair helps: each line says what does"
    assert verify(out).out.splitlines() == lines[1:]


def test_settings_come_from_the_manifest(
    pets: Path, tmp_path: Path, shard: Shard, verify: Verify, contents: Contents
) -> None:
    out = tmp_path / "out"
    for name in ("ant", "bee"):
        (pets / "train" / name / "bad.jpg").write_bytes(b"no image")
    (tmp_path / "classes").write_text("dog\ncat\nbee\nant\n")
    flags = ("--seed", 7, "--shards", 3, "--max-side", 12, "--quality", 70, "--max-bad", 2)
    flags = (*flags, "--name", "zoo", "--classes", tmp_path / "classes", "--check", "header")
    assert shard(pets, out, "--split", "train", *flags, "--workers", 1).code == 0
    other = ("--shards", 2, "--name", "zoo", "--classes", tmp_path / "classes")
    assert shard(pets, out, "--split", "validation", *other, "--workers", 1).code == 0
    whole = contents(out)
    for split in ("train", "validation"):
        (out / f"zoo-{split}-0001.tar").unlink()
        (out / f"zoo-{split}.names.bin").unlink()
    ran = verify(out, "--repair", pets)
    assert ran.code == 0, ran.out + ran.err
    assert contents(out) == whole


def test_a_split_alone_stays_alone(
    pets: Path, tmp_path: Path, shard: Shard, verify: Verify, contents: Contents
) -> None:
    out = tmp_path / "out"
    assert shard(pets, out, "--split", "validation", *FLAGS).code == 0
    whole = contents(out)
    (out / "pets-validation-0000.tar").unlink()
    assert verify(out, "--repair", pets).code == 0
    assert contents(out) == whole


def test_another_layout_of_the_same_images_will_do(
    jpeg: Callable[..., bytes], tmp_path: Path, shard: Shard, verify: Verify, contents: Contents
) -> None:
    mini = miniatures.miniature([jpeg(seed, 20 + seed) for seed in range(30)], WNIDS)
    folder = miniatures.imagefolder(mini, tmp_path / "folder")
    archives = miniatures.archives(mini, tmp_path / "archives")
    out = tmp_path / "out"
    assert shard(folder, out, *FLAGS, "--allow-partial").code == 0
    whole = contents(out)
    flip("imagenet1k-train-0001.tar", 0)(out)
    (out / "imagenet1k-validation.samples.npy").unlink()
    ran = verify(out, "--repair", archives, "--layout", "archives")
    assert ran.code == 0, ran.out + ran.err
    assert "has the layout archives" in ran.err
    assert contents(out) == whole
    assert read_manifest(out).splits["validation"].source["layout"] == "imagefolder"


@pytest.mark.parametrize(("change", "code"), [("bytes", 4), ("name", 2)])
def test_a_changed_source_is_refused_and_changes_nothing(
    change: str, code: int, out: Path, pets: Path, verify: Verify
) -> None:
    swap(out)
    ant = pets / "train" / "ant"
    if change == "name":
        (ant / "ant_0.jpg").rename(ant / "ant_10.jpg")
    for image in pets.rglob("*.jpg") if change == "bytes" else ():
        image.write_bytes(image.read_bytes()[:-3] + b"abc")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    ran = verify(out, "--repair", pets)
    assert ran.code == code
    assert "another OUT" in ran.err
    after = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert after == before
    ran = verify(out, "--json")
    assert {problem["file"] for problem in ran.json["problems"]} == {TAR}
