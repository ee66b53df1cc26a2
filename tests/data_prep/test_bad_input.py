"""Every wrong input: its exit code, one clear message, nothing written."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.budget import parse_max_bad
from pipeline.errors import UserError
from pipeline.shards import read_manifest

ROOT = Path(__file__).parents[2]
FLAGS = ("--check", "header", "--workers", 1)

Shard = Callable[..., Any]
Tree = Callable[..., Path]


def refused(ran: Any, code: int, *said: str) -> None:
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert errors == ran.err.splitlines()[-1:], "one line, the last"
    for text in said:
        assert text in errors[0]


def test_alone_it_says_how_to_use_it_and_where_imagenet_is(shard_process: Shard) -> None:
    ran = shard_process()
    assert ran.code == 2
    for said in ("usage: shard.py", "image-net.org", "ILSVRC2012_img_train.tar", "Kaggle"):
        assert said in ran.err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['shard.py', '--help']; sys.path.insert(0, '')\n"
        f"try: runpy.run_path({str(ROOT / 'data_prep' / 'shard.py')!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'nvidia.dali', 'sklearn'} & set(sys.modules)\n"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert time.monotonic() - began < 5  # a busy machine; torch alone takes longer on it


def test_no_such_source(tmp_path: Path, shard_process: Shard) -> None:
    refused(shard_process("nowhere", "out", *FLAGS), 2, "SOURCE=nowhere does not exist", "name the")
    assert not (tmp_path / "out").exists()


def test_an_empty_source(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "empty").mkdir()
    refused(shard("empty", *FLAGS), 2, "SOURCE=empty is no layout", "it is empty", "looked for")


def test_a_file_as_source(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "file").write_text("")
    refused(shard("file", *FLAGS), 2, "SOURCE=file is no layout that is known: it is a file")


def test_a_flat_validation_folder(tree: Tree, shard: Shard) -> None:
    source = tree({"train/a/1.jpg": None, "val/ILSVRC2012_val_00000001.JPEG": None})
    refused(shard(source, *FLAGS), 2, "1 image", "no class folders", "LOC_val_solution.csv")


def test_images_beside_class_folders(tree: Tree, shard: Shard) -> None:
    source = tree({"a/1.jpg": None, "stray.jpg": None})
    refused(shard(source, *FLAGS), 2, "beside its class folders (stray.jpg)")


def test_a_class_without_images(tree: Tree, tmp_path: Path, shard: Shard) -> None:
    source = tree({"a/1.jpg": None})
    (source / "b").mkdir()
    refused(shard(source, "out", *FLAGS), 4, "1 class folder without images: b")
    assert not (tmp_path / "out").exists()


def test_validation_classes_that_train_lacks(tree: Tree, tmp_path: Path, shard: Shard) -> None:
    source = tree({"train/a/1.jpg": None, "val/a/2.jpg": None, "val/z/3.jpg": None})
    refused(shard(source, "out", *FLAGS), 4, "validation has 1 class that train lacks: z")
    assert not (tmp_path / "out").exists()


def test_two_validation_folders(tree: Tree, shard: Shard) -> None:
    source = tree({"train/a/1.jpg": None, "val/a/2.jpg": None, "eval/a/3.jpg": None})
    refused(shard(source, *FLAGS), 2, "several validation folders (val, eval)")


def test_a_split_that_is_not_there(tree: Tree, shard: Shard) -> None:
    source = tree({"train/a/1.jpg": None})
    refused(shard(source, "--split", "validation", *FLAGS), 2, "--split validation", "only train")


def test_out_inside_source_and_around_it(pets: Path, shard: Shard) -> None:
    refused(shard(pets, pets / "train" / "shards", *FLAGS), 2, "lie inside each other")
    refused(shard(pets, pets.parent, *FLAGS), 2, "lie inside each other")
    assert sorted(os.listdir(pets / "train")) == ["ant", "bee", "cat"]


def test_out_with_foreign_files(pets: Path, tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    refused(shard(pets, "out", *FLAGS), 2, "holds files (thesis.tex) and no manifest.json")
    assert os.listdir(tmp_path / "out") == ["thesis.tex"]


def test_out_that_cannot_be_a_folder(pets: Path, tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "file").write_text("")
    refused(shard(pets, "file/out", *FLAGS), 2, "OUT=file/out cannot be used (Not a directory)")
    refused(shard(pets, "file", *FLAGS), 2, "OUT=file cannot be used (File exists)")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_out_that_is_read_only(pets: Path, tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "out").mkdir(mode=0o555)
    refused(shard(pets, "out", *FLAGS), 2, "OUT=out is not writable")


def test_too_many_bad_files(pets: Path, tmp_path: Path, shard_process: Shard) -> None:
    (pets / "train" / "bee" / "empty.jpg").write_bytes(b"")
    (pets / "train" / "bee" / "text.jpg").write_bytes(b"text")
    ran = shard_process(pets, "out", *FLAGS)
    refused(ran, 4, "train: 2 bad files of 23", "bee/empty.jpg (empty file)", "--max-bad 2")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_text_files_alone_can_exceed_the_budget(pets: Path, tmp_path: Path, shard: Shard) -> None:
    for i in range(2):
        (pets / "train" / "bee" / f"notes{i}.txt").write_text("")
    refused(shard(pets, "out", *FLAGS), 4, "bee/notes0.txt (not an image: its name ends in none of")
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_is_named(pets: Path, tmp_path: Path, shard: Shard) -> None:
    (pets / "train" / "bee" / "notes.txt").write_text("")
    (pets / "train" / "bee" / ".DS_Store").write_text("")
    (pets / "val" / "cat" / "gone.jpg").symlink_to("nowhere")
    ran = shard(pets, "out", *FLAGS)
    assert ran.code == 0
    assert "ignored 1 hidden file" in ran.err
    assert "bee/notes.txt: not an image" in ran.err
    assert "cat/gone.jpg: a link to nothing" in ran.err
    splits = read_manifest(tmp_path / "out").splits
    assert [bad.name for bad in splits["train"].quarantine] == ["bee/notes.txt"]
    assert splits["train"].samples == 21


def test_files_named_after_another_class(tree: Tree, tmp_path: Path, shard: Shard) -> None:
    files = {f"n01440764/n01440764_{i}.JPEG": None for i in range(4)}
    source = tree(files | {"n01443537/n01440764_9.JPEG": None})
    said = "train: 1 file named after another class than their folder: n01443537/n01440764_9.JPEG"
    refused(shard(source, "out", "--strict-labels", *FLAGS), 4, said)
    assert not (tmp_path / "out").exists()
    ran = shard(source, "out", *FLAGS)
    assert ran.code == 0
    assert said in ran.err
    assert read_manifest(tmp_path / "out").splits["train"].warnings[-1] == said


def test_a_shard_of_bad_images_only(tree: Tree, tmp_path: Path, shard: Shard) -> None:
    source = tree({"a/1.jpg": None, "a/2.jpg": None, "a/3.jpg": b"bad"})
    refused(
        shard(source, "out", *FLAGS),
        4,
        "would be empty",
        "a/3.jpg (size unreadable: not an image)",
        "fewer shards",
    )
    assert shard(source, "out2", "--shards", 1, *FLAGS).code == 0


def test_a_folder_too_high(tree: Tree, tmp_path: Path, shard: Shard) -> None:
    names = [f"{split}/{c}/{i}.jpg" for split in ("train", "val") for c in "ab" for i in range(2)]
    tree({f"sets/pets/{name}": None for name in names}, name="above")
    tree({name.replace("train", "Train"): None for name in names[:4]}, name="capital")
    refused(shard("above/sets", *FLAGS), 2, "(pets) hold several folders each", "above/sets/pets")
    refused(shard("capital", *FLAGS), 2, "(Train) hold several folders each")
    assert shard("above/sets/pets", *FLAGS).code == 0


def test_train_under_another_name(tree: Tree, shard: Shard) -> None:
    source = tree({"training/a/1.jpg": None, "validation/a/2.jpg": None})
    refused(shard(source, *FLAGS), 2, "has validation and training, but no train")
    assert shard(source, "--split", "validation", *FLAGS).code == 0


def test_a_zip(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "imagenet.zip").write_bytes(b"PK")
    refused(shard("imagenet.zip", *FLAGS), 2, "it is a file; unpack imagenet.zip first")


def test_an_option_cut_short_is_not_guessed(pets: Path, shard: Shard) -> None:
    assert shard(pets, "out", "--max-sid", 30).code == 2


def test_a_class_called_train(tree: Tree, tmp_path: Path, shard: Shard) -> None:
    source = tree({"train/1.jpg": None, "bus/2.jpg": None})
    assert shard(source, "out", *FLAGS).code == 0
    assert read_manifest(tmp_path / "out").classes == ["bus", "train"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--workers", "0"), "argument --workers: '0' is not a whole number above 0"),
        (("--shards", "x"), "argument --shards: 'x'"),
        (("--seed", "-1"), "argument --seed"),
        (("--shards", "1", "--samples-per-shard", "1"), "not allowed with argument"),
        (("--split", "test"), "invalid choice: 'test'"),
    ],
)
def test_wrong_options(pets: Path, shard: Shard, flags: tuple[str, ...], said: str) -> None:
    ran = shard(pets, "out", *flags)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_wrong_names_and_budgets(pets: Path, shard: Shard) -> None:
    refused(shard(pets, "out", "--name", "a/b", *FLAGS), 2, "--name 'a/b'", "letters, digits")
    refused(shard(pets, "out", "--max-bad", "many", *FLAGS), 2, "--max-bad 'many'", "0.5%")
    refused(shard(pets, "out", "--shards", 22, *FLAGS), 2, "--shards 22: train has 21 images")


@pytest.mark.parametrize(
    ("text", "total", "files"), [("5", 10, 5), ("0.5%", 1000, 5), ("0.005", 1000, 5), ("0", 9, 0)]
)
def test_budgets(text: str, total: int, files: int) -> None:
    assert parse_max_bad(text).files(total) == files


@pytest.mark.parametrize("text", ["-1", "1.5", "150%", "nan", "", "%", "5 files"])
def test_budgets_that_mean_nothing(text: str) -> None:
    with pytest.raises(UserError, match="neither a count nor a fraction"):
        parse_max_bad(text)
