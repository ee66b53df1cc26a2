"""Verification names what is broken, all of it and nothing else."""

import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.verifying import verification
from tests.data_prep.conftest import Ran
from tests.data_prep.verifying.damages import (
    LASTING,
    REPAIRABLE,
    cut,
    edited,
    swap,
)
from tests.data_prep.verifying.forging import Made, forge, made

ROOT = Path(__file__).parents[3]
FLAGS = ("--samples-per-shard", 5, "--check", "header", "--workers", 1)

Shard = Callable[..., Any]
Verify = Callable[..., Ran]
Tree = Callable[..., Path]


@pytest.fixture
def out(pets: Path, tmp_path: Path, shard: Shard) -> Path:
    assert shard(pets, tmp_path / "out", *FLAGS).code == 0
    return tmp_path / "out"


def stamps(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in (out, *out.iterdir())}


def test_a_whole_folder_is_whole_and_stays_untouched(out: Path, verify: Verify) -> None:
    before = stamps(out)
    ran = verify(out)
    assert ran.code == 0, ran.out + ran.err
    assert ran.out == f"{out}: 30 samples in 7 shards are whole\n"
    assert "read 30 images in 7 shards and decoded 30" in ran.err
    assert stamps(out) == before


@pytest.mark.parametrize("name", [*REPAIRABLE, *LASTING])
def test_exactly_what_is_damaged_is_named(out: Path, verify: Verify, name: str) -> None:
    damage = REPAIRABLE.get(name) or LASTING[name]
    key = damage.sample and damage.sample(out)
    damage.act(out)
    ran = verify(out, "--json")
    assert ran.code == 4, ran.err
    problems = ran.json["problems"]
    assert {problem["file"] for problem in problems} == {damage.file}
    assert any(
        damage.said in problem["found"] and key in (None, problem["sample"]) for problem in problems
    ), problems
    assert {problem["can_repair"] for problem in problems} == {name in REPAIRABLE}
    assert ran.json["whole"] is False


def test_several_damages_are_told_apart(out: Path, verify: Verify) -> None:
    damages = [REPAIRABLE[name] for name in ("label", "index offset", "key", "_info.json count")]
    for damage in damages:
        damage.act(out)
    ran = verify(out)
    lines = ran.out.splitlines()
    assert ran.code == 4
    assert {line.split(": ")[0] for line in lines[:-1]} == {damage.file for damage in damages}
    files = [line.partition(":")[0] for line in lines if ": sample " not in line]
    assert lines[: len(files) - 1] == [line for line in lines[:-1] if ": sample " not in line]
    assert lines[-1] == (
        f"{len(lines) - 1} problems in 4 files; repair with: "
        f"python data_prep/verify.py {out} --repair SOURCE"
    )


def test_names_alone_do_not_accuse_a_whole_tar(out: Path, verify: Verify) -> None:
    """With both side files damaged there is nothing to hold the tars against."""
    for name in ("row", "names missing"):
        REPAIRABLE[name].act(out)
    cut("pets-train.names.bin")(out)
    problems = verify(out, "--json").json["problems"]
    assert {problem["file"] for problem in problems} == {
        "pets-train.samples.npy",
        "pets-train.names.bin",
        "pets-validation.names.bin",
    }


def test_what_is_left_out_of_the_text_stands_in_the_json(
    out: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_prep.verify._SHOWN", 4)
    swap(out)
    every = verify(out, "--json").json["problems"]
    lines = verify(out).out.splitlines()
    assert len(every) > 4
    assert lines[4] == f"and {len(every) - 4} more; --json has all of them"
    assert lines[5].startswith(f"{len(every)} problems in 1 file; repair with: ")


def test_other_files_are_notes(out: Path, verify: Verify) -> None:
    for name in ("readme.txt", ".shard.lock"):
        (out / name).touch()
    (out / ".work-train").mkdir()
    ran = verify(out, "--json")
    assert ran.code == 0
    for said in ("readme.txt", ".shard.lock: somebody writes", ".work-train: a repair was not"):
        assert any(said in note for note in ran.json["notes"])


# Folders that are as their manifest says, and wrong.


def forged(change: Callable[[Made], Made]) -> Callable[[list[list[Made]]], list[list[Made]]]:
    """Change the first sample."""
    return lambda shards: [[change(shards[0][0]), *shards[0][1:]], *shards[1:]]


ODD = {
    "as it was": (lambda shards: shards, None, ""),
    "cut image": (forged(lambda s: replace(s, image=s.image[:-200])), "ant_7", "cannot be decoded"),
    "no label": (forged(lambda s: replace(s, parts=("jpg",))), "ant_7", "holds jpg"),
    "more parts": (
        forged(lambda s: replace(s, parts=("jpg", "cls", "txt"))),
        "ant_7",
        "holds cls, jpg, txt",
    ),
    "wide label": (forged(lambda s: replace(s, text="00")), "ant_7", "has the label '00'"),
    "label out of range": (forged(lambda s: replace(s, text="3")), "ant_7", "has the label '3'"),
    "label against row": (forged(lambda s: replace(s, text="1")), "ant_7", "has label 1"),
    "size against row": (forged(lambda s: replace(s, width=99)), "ant_7", "has width"),
    "label against name": (
        forged(lambda s: replace(s, original="bee/ant_7.jpg")),
        "ant_7",
        "has the label of ant",
    ),
    "key in two shards": (
        lambda shards: [shards[0], [*shards[1], shards[0][0]]],
        "ant_7",
        "is in pets-validation-0000.tar too",
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_faults_that_every_hash_agrees_on(out: Path, verify: Verify, odd: str) -> None:
    change, key, said = ODD[odd]
    forge(out, change(made(out)))
    ran = verify(out, "--json")
    problems = ran.json["problems"]
    if key is None:
        assert problems == []
        return
    assert ran.code == 4
    named = [problem for problem in problems if problem["file"] != "manifest.json"]
    assert len({problem["file"] for problem in named}) == 1
    assert {problem["sample"] for problem in named} == {key}
    assert any(said in problem["found"] for problem in named)
    assert not any(problem["can_repair"] for problem in named)
    assert all("shard SOURCE into another OUT" in problem["rule"] for problem in named)


def test_an_image_is_only_undecodable_to_who_decodes(out: Path, verify: Verify) -> None:
    change, key, _ = ODD["cut image"]
    forge(out, change(made(out)))
    ran = verify(out, "--decode", "none", "--json")
    assert ran.code == 0
    assert ran.json["splits"]["validation"]["decoded"] == 0
    ran = verify(out, "--decode", "all")
    assert ran.code == 4
    assert f"pets-validation-0000.tar: sample {key}: cannot be decoded" in ran.out
    assert "1 problem in 1 file; no repair helps" in ran.out


def test_the_same_images_are_decoded_at_every_run(
    out: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "DECODED_SAMPLES", 4)
    chosen = verification.decoded_samples(21)
    assert len(set(chosen.tolist())) == 4
    assert chosen.tolist() == verification.decoded_samples(21).tolist()
    splits = verify(out, "--json").json["splits"]
    assert [split["decoded"] for split in splits.values()] == [4, 4]


def test_headers_other_than_plain_ones_are_refused(out: Path, verify: Verify) -> None:
    forge(out, made(out), tarfile.PAX_FORMAT)
    problems = verify(out, "--json").json["problems"]
    assert {p["found"] for p in problems if p["file"].endswith("tar")} == {"is no plain member"}


def test_imagenets_classes_must_be_sorted(tree: Tree, tmp_path: Path, verify: Verify) -> None:
    wnids = (ROOT / "data_prep/imagenet1k_wnids.txt").read_text().split()
    source = tree({f"train/{wnid}/{wnid}_{i}.JPEG": None for wnid in wnids[:2] for i in (3, 4)})
    _shard_all_classes(source, tmp_path / "out")
    assert verify(tmp_path / "out").code == 0

    def exchange(manifest: Any) -> None:
        classes = manifest["classes"]
        classes[7], classes[8] = classes[8], classes[7]
        manifest["splits"]["train"]["options"]["classes_sha256"] = None

    edited("manifest.json", exchange)(tmp_path / "out")
    ran = verify(tmp_path / "out", "--json")
    (problem,) = ran.json["problems"]
    assert problem["file"] == "manifest.json"
    assert f"in another order: label 7 is {wnids[8]}" in problem["found"]


def _shard_all_classes(source: Path, out: Path) -> None:
    words = [sys.executable, ROOT / "data_prep/shard.py", source, out, "--classes", "imagenet1k"]
    words += ["--allow-partial", "--check", "header", "--workers", "1"]
    subprocess.run(list(map(str, words)), check=True, capture_output=True)


def test_a_key_of_another_class_counts_unless_it_was_accepted(
    tree: Tree, tmp_path: Path, shard: Shard, verify: Verify
) -> None:
    files = ["n01440764/n01440764_1", "n01440764/n01443537_2", "n01443537/n01443537_3"]
    source = tree({f"train/{name}.JPEG": None for name in files})
    assert shard(source, tmp_path / "out", *FLAGS).code == 0
    ran = verify(tmp_path / "out", "--json")
    assert ran.code == 0
    assert ran.json["notes"][0].startswith("train: 1 sample with a key of another class")
    edited("manifest.json", lambda m: m["splits"]["train"]["warnings"].clear())(tmp_path / "out")
    ran = verify(tmp_path / "out", "--json")
    (problem,) = ran.json["problems"]
    assert problem["sample"] == "n01443537_2"
    assert problem["found"] == "has the label of n01440764"


# The command.


@pytest.mark.parametrize("name", ["nowhere", "pets", "pets/train/ant/ant_0.jpg"])
def test_what_is_no_shard_folder_is_a_mistake(
    name: str, pets: Path, tmp_path: Path, verify: Verify
) -> None:
    ran = verify(tmp_path / name)
    assert ran.code == 2
    assert name in ran.err
    assert ran.out == ""


def test_a_damaged_manifest_is_told(out: Path, verify: Verify) -> None:
    cut("manifest.json")(out)
    ran = verify(out)
    assert ran.code == 4
    assert "manifest.json is damaged" in ran.err


def test_a_layout_without_a_source_is_a_mistake(out: Path, verify: Verify) -> None:
    ran = verify(out, "--layout", "parquet")
    assert ran.code == 2
    assert "--repair SOURCE" in ran.err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_ends_all_processes(out: Path, workers: str) -> None:
    index = out / "pets-train-0000.idx"
    index.unlink()
    os.mkfifo(index)  # whoever reads it waits
    command = [sys.executable, str(ROOT / "data_prep/verify.py"), str(out), "--workers", workers]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with index.open("wb"):  # there is a reader now
        os.killpg(process.pid, signal.SIGINT)
        printed, err = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "")
    assert err == "stopped by SIGINT: run the same command again\n"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_workers_find_the_same(out: Path, verify: Verify) -> None:
    for name in ("label", "index offset", "tar cut"):
        REPAIRABLE[name].act(out)
    command = [sys.executable, str(ROOT / "data_prep/verify.py"), str(out), "--workers", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stdout == verify(out).out


def test_the_sample_of_a_large_split_is_spread() -> None:
    chosen = np.sort(verification.decoded_samples(100_000))
    assert len(np.unique(chosen)) == 1000
    assert np.all(np.histogram(chosen, 10)[0] > 60)
