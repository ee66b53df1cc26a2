"""The manifest: it survives its JSON, and nobody changes it unseen."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DataError, UserError
from pipeline.shards import (
    MANIFEST,
    Quarantined,
    index_name,
    open_split,
    read_manifest,
    sealed,
    shard_name,
)


def test_file_names() -> None:
    assert shard_name("imagenet1k", "train", 7) == "imagenet1k-train-0007.tar"
    assert index_name("imagenet1k-train-0007.tar") == "imagenet1k-train-0007.idx"


def test_the_manifest_survives_its_json(root: Path) -> None:
    manifest = read_manifest(root)
    assert manifest.to_json() == (root / MANIFEST).read_text()
    assert manifest.splits["train"].samples == 3
    assert manifest.splits["train"].quarantine == [Quarantined("dog/\udcff.jpg", "empty file")]


def test_the_digest_is_that_of_the_shards(root: Path) -> None:
    split = read_manifest(root).splits["train"]
    assert split.digest == open_split(root, "train").digest
    assert replace(split, shards=split.shards[::-1]).digest != split.digest
    assert replace(split, warnings=[]).digest == split.digest


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 2}'])
def test_a_damaged_manifest_is_a_data_error(root: Path, text: str) -> None:
    (root / MANIFEST).write_text(text)
    with pytest.raises(DataError, match="is damaged"):
        read_manifest(root)


def rename_class(raw: Any) -> None:
    raw["classes"][0] = "dog"


def drop_shard(raw: Any) -> None:
    del raw["splits"]["train"]["shards"][1]


def shift_label(raw: Any) -> None:
    raw["splits"]["train"]["class_counts"][0] += 1


@pytest.mark.parametrize("edit", [rename_class, drop_shard, shift_label])
def test_an_edited_manifest_is_refused(root: Path, edit: Callable[[Any], None]) -> None:
    raw = json.loads((root / MANIFEST).read_text())
    edit(raw)
    (root / MANIFEST).write_text(json.dumps(raw))
    with pytest.raises(DataError, match=r"is not what was written there: its sha256 says \w{12}"):
        read_manifest(root)


def test_its_layout_is_nobodys_concern(root: Path) -> None:
    before = read_manifest(root)
    raw = json.loads((root / MANIFEST).read_text())
    (root / MANIFEST).write_text(json.dumps(dict(reversed(raw.items()))))
    assert read_manifest(root) == before


def test_another_format_is_refused(root: Path) -> None:
    raw = json.loads((root / MANIFEST).read_text())
    (root / MANIFEST).write_text(json.dumps(sealed(raw | {"format_version": 3})))
    with pytest.raises(DataError, match="format_version=3, this code reads 2; use the newer code"):
        read_manifest(root)


def test_a_folder_without_manifest_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root=.*data_prep/shard\.py SOURCE"):
        read_manifest(tmp_path)


def test_a_root_that_is_a_file_is_told(root: Path) -> None:
    with pytest.raises(UserError, match=r"manifest\.json cannot be read \(Not a directory\)"):
        read_manifest(root / MANIFEST)
