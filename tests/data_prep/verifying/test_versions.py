"""Manifests: edited ones are refused, and those of format version 1 are brought up to date."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.writing.work_folder import WorkFolder
from pipeline.errors import DataError
from pipeline.shards import MANIFEST, open_split
from tests.data_prep.conftest import Ran
from tests.data_prep.verifying.damages import INDEX, cut, patch, wrong_offset

FLAGS = ("--samples-per-shard", 5, "--check", "header", "--workers", 1)

Shard = Callable[..., Ran]
Verify = Callable[..., Ran]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def out(pets: Path, tmp_path: Path, shard: Shard) -> Path:
    assert shard(pets, tmp_path / "out", *FLAGS).code == 0
    return tmp_path / "out"


def make_old(out: Path) -> None:
    """What version 1 would have written."""
    raw = json.loads((out / MANIFEST).read_text())
    del raw["sha256"]
    for split in raw["splits"].values():
        for shard in split["shards"]:
            del shard["index_sha256"]
    (out / MANIFEST).write_text(json.dumps(raw | {"format_version": 1}, indent=1) + "\n")


def stamps(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.iterdir()}


def test_an_edited_manifest_is_refused_by_all(
    out: Path, pets: Path, shard: Shard, verify: Verify
) -> None:
    text = (out / MANIFEST).read_text()
    (out / MANIFEST).write_text(text.replace('"seed": 0', '"seed": 1', 1))
    for ran in (verify(out), verify(out, "--repair", pets), shard(pets, out, *FLAGS)):
        assert ran.code == 4
        assert f"{out / MANIFEST} is not what was written there" in ran.err


def test_training_names_what_brings_version_1_up_to_date(
    out: Path, pets: Path, verify: Verify, contents: Contents
) -> None:
    whole = contents(out)
    make_old(out)
    with pytest.raises(DataError, match="format_version=1, this code reads 2") as raised:
        open_split(out, "train")
    assert f"`python data_prep/verify.py {out} --repair SOURCE`" in str(raised.value)
    ran = verify(out)
    assert ran.code == 4
    assert ran.out.startswith(
        f"{MANIFEST}: has no sha256 of the indexes of train and validation: format_version=1 had "
        "none; a repair adds them\n"
    )
    before = stamps(out)
    assert verify(out, "--repair", pets).code == 0
    assert contents(out) == whole
    assert {name for name, when in stamps(out).items() if when != before[name]} == {MANIFEST}


def test_the_same_shard_command_does_it_too(
    out: Path, pets: Path, shard: Shard, contents: Contents
) -> None:
    whole = contents(out)
    make_old(out)
    before = stamps(out)
    ran = shard(pets, out, *FLAGS)
    assert ran.code == 0, ran.err
    assert contents(out) == whole
    assert {name for name, when in stamps(out).items() if when != before[name]} == {MANIFEST}


def test_split_by_split(
    out: Path, pets: Path, shard: Shard, verify: Verify, contents: Contents
) -> None:
    whole = contents(out)
    make_old(out)
    assert shard(pets, out, *FLAGS, "--split", "train").code == 0
    assert len(open_split(out, "train")) == 21
    with pytest.raises(DataError, match=r"has no sha256 of the \.idx files: validation is"):
        open_split(out, "validation")
    assert "of the indexes of validation: format_version=1" in verify(out).out
    assert verify(out, "--repair", pets).code == 0
    assert contents(out) == whole


def test_version_1_with_damages(out: Path, pets: Path, verify: Verify, contents: Contents) -> None:
    whole = contents(out)
    make_old(out)
    wrong_offset(out)
    (out / "pets-train.samples.npy").unlink()
    (out / "pets-train-0001.tar").unlink()
    assert verify(out, "--repair", pets).code == 0
    assert contents(out) == whole


def test_version_1_is_a_source_still(
    out: Path, tmp_path: Path, shard: Shard, contents: Contents
) -> None:
    make_old(out)
    ran = shard(out, tmp_path / "again", *FLAGS)
    assert ran.code == 0, ran.err
    tars = {name: text for name, text in contents(out).items() if name.endswith(".tar")}
    assert tars.items() <= contents(tmp_path / "again").items()


def test_unfinished_shards_of_version_1_are_written_again(
    out: Path, pets: Path, tmp_path: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their records hold no hash of the index."""
    record: Callable[..., None] = WorkFolder.record

    def old_record(self: WorkFolder, index: int, made: Any) -> None:
        object.__setattr__(made.entry, "index_sha256", None)
        record(self, index, made)
        if index == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(WorkFolder, "record", old_record)
        assert shard(pets, tmp_path / "begun", *FLAGS).code == 130
    assert len(list((tmp_path / "begun/.work-train").glob("000*.npz"))) == 3
    assert shard(pets, tmp_path / "begun", *FLAGS).code == 0
    assert (tmp_path / "begun" / MANIFEST).read_bytes() == (out / MANIFEST).read_bytes()


def test_an_index_is_known_by_its_hash_where_nothing_else_tells(
    out: Path, pets: Path, verify: Verify, contents: Contents
) -> None:
    whole = contents(out)
    cut("pets-validation.samples.npy")(out)
    patch(out / "pets-validation-0001.tar", 600, b"xx")
    assert INDEX not in verify(out).out
    wrong_offset(out)
    (line,) = [line for line in verify(out).out.splitlines() if line.startswith(INDEX)]
    assert " has sha256 " in line
    assert verify(out, "--repair", pets).code == 0
    assert contents(out) == whole
