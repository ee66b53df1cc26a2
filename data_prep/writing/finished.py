"""A finished split on disk: is it whole, what was it made of, repair of its indexes."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.durable import write_file
from data_prep.shard_plan import label_digits
from data_prep.sources import parquet
from data_prep.sources.entries import decoded
from data_prep.writing.tar_writer import index_text
from pipeline.errors import DataError
from pipeline.shards import (
    MANIFEST,
    Manifest,
    ShardEntry,
    SideFile,
    SplitManifest,
    index_name,
    names_name,
    samples_name,
)


def has_size(path: Path, size: int) -> bool:
    """Whether a file is there with that many bytes."""
    return path.is_file() and path.stat().st_size == size


def damaged_shards(out: Path, split: SplitManifest) -> list[int]:
    """Shards that are missing or have another size than the manifest says."""
    return [
        k for k, entry in enumerate(split.shards) if not has_size(out / entry.name, entry.bytes)
    ]


def is_whole(out: Path, entry: ShardEntry | SideFile) -> bool:
    """Whether a file is that of the manifest, by size and hash."""
    path = out / entry.name
    if not has_size(path, entry.bytes):
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256


def side_files_whole(out: Path, split: SplitManifest) -> bool:
    """Whether sample rows and names are those of the manifest."""
    return all(is_whole(out, file) for file in split.side_files)


def updated(path: Path, content: bytes) -> bool:
    """Write a small file unless it holds just that; returns whether it was written."""
    if has_size(path, len(content)) and path.read_bytes() == content:
        return False
    write_file(path, content)
    return True


def source_sizes(
    out: Path, dataset: str, split: str, manifest: SplitManifest
) -> dict[str, int | None]:
    """Name -> bytes of the files a split was made of; None: size not kept."""
    names = _records(out, dataset, split).split(b"\0")[1::2]
    found: dict[str, int | None] = dict.fromkeys(bad.name for bad in manifest.quarantine)
    if manifest.options.get("max_side") is not None or manifest.source["layout"] == parquet.LAYOUT:
        return found | dict.fromkeys(map(decoded, names))
    rows = np.load(out / samples_name(dataset, split), mmap_mode="r")
    return found | dict(zip(map(decoded, names), rows["bytes"].tolist(), strict=True))


def repair_indexes(out: Path, manifest: Manifest, split: str, skip: Collection[int]) -> list[str]:
    """Write indexes that are missing or wrong, save those of the shards in ``skip``.

    Needs whole side files. Returns the names of the files written.
    """
    repaired: list[str] = []
    for k, text in enumerate(_index_texts(out, manifest, split)):
        path = out / index_name(manifest.splits[split].shards[k].name)
        if k not in skip and updated(path, text):
            repaired.append(path.name)
    return repaired


def with_index_hashes(out: Path, manifest: Manifest, split: str) -> SplitManifest:
    """A split of format version 1 with what that did not keep. Needs whole side files."""
    about = manifest.splits[split]
    digests = [hashlib.sha256(text).hexdigest() for text in _index_texts(out, manifest, split)]
    shards = zip(about.shards, digests, strict=True)
    return replace(about, shards=[replace(entry, index_sha256=sha256) for entry, sha256 in shards])


def _index_texts(out: Path, manifest: Manifest, split: str) -> Iterator[bytes]:
    """The index of every shard, by sample rows and names."""
    rows = np.load(out / samples_name(manifest.dataset, split), mmap_mode="r")
    if len(rows) != manifest.splits[split].samples:
        raise DataError(
            f"{out / MANIFEST} counts {manifest.splits[split].samples} samples of {split}, and its "
            f"rows are {len(rows)}; data_prep/verify.py says what is wrong"
        )
    records = _records(out, manifest.dataset, split)
    ends = [*rows["name_offset"][1:].tolist(), len(records)]
    digits = label_digits(manifest.classes)
    start = 0
    for entry in manifest.splits[split].shards:
        part = slice(start, start + entry.samples)
        start += entry.samples
        named = records[int(rows["name_offset"][part.start]) : ends[part.stop - 1]]
        keys = [key.decode() for key in named.split(b"\0")[:-1:2]]
        offsets, sizes = rows["offset"][part].tolist(), rows["bytes"][part].tolist()
        yield index_text(keys, offsets, sizes, digits).encode()


def _records(out: Path, dataset: str, split: str) -> bytes:
    """``key NUL name NUL`` of every sample, in shard order."""
    return (out / names_name(dataset, split)).read_bytes()
