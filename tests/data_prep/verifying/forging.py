"""Shards made by hand: what every hash agrees on, right or wrong."""

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.writing.tar_writer import index_text
from pipeline.shards import (
    SAMPLE_DTYPE,
    ShardSplit,
    index_name,
    names_name,
    pack_name,
    read_manifest,
    samples_name,
    shard_name,
)
from tests.data_prep.verifying.damages import edited


@dataclass(frozen=True)
class Made:
    """One sample of a shard made by hand."""

    key: str
    image: bytes
    width: int = 24
    height: int = 16
    label: int = 0
    text: str | None = None
    """Of the ``.cls``; None: the label."""
    original: str | None = None
    """None: by class and key."""
    parts: tuple[str, ...] = ("jpg", "cls")


def forge(
    out: Path, shards: Sequence[Sequence[Made]], tar_format: int = tarfile.USTAR_FORMAT
) -> None:
    """Put other validation shards into OUT, with everything that describes them adapted."""
    manifest = read_manifest(out)
    for entry in manifest.splits["validation"].shards:
        (out / entry.name).unlink()
        (out / index_name(entry.name)).unlink()
    rows: list[tuple[int, ...]] = []
    names, entries = b"", list[dict[str, Any]]()
    for k, samples in enumerate(shards):
        name = shard_name(manifest.dataset, "validation", k)
        content, offsets = _tar(samples, tar_format)
        (out / name).write_bytes(content)
        sizes = [len(s.image) for s in samples]
        text = index_text([s.key for s in samples], offsets, sizes, 1)
        (out / index_name(name)).write_text(text)
        for sample, offset, size in zip(samples, offsets, sizes, strict=True):
            rows.append((k, offset, size, sample.width, sample.height, sample.label, len(names)))
            original = sample.original or f"{manifest.classes[sample.label]}/{sample.key}.jpg"
            names += pack_name(sample.key, original)
        digest = hashlib.sha256(content).hexdigest()
        about = {"name": name, "sha256": digest, "bytes": len(content), "samples": len(samples)}
        entries.append(about | {"index_sha256": hashlib.sha256(text.encode()).hexdigest()})
    np.save(out / samples_name(manifest.dataset, "validation"), np.array(rows, SAMPLE_DTYPE))
    (out / names_name(manifest.dataset, "validation")).write_bytes(names)
    labels = [sample.label for samples in shards for sample in samples]
    counts = np.bincount(labels, minlength=len(manifest.classes)).tolist()
    edited("manifest.json", lambda m: _describe(out, m, entries, counts))(out)
    adapt_descriptions(out)


def _tar(samples: Sequence[Made], tar_format: int) -> tuple[bytes, list[int]]:
    buffer, offsets = io.BytesIO(), list[int]()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for sample in samples:
            for part in sample.parts:
                text = str(sample.label) if sample.text is None else sample.text
                content = sample.image if part == "jpg" else text.encode()
                info = tarfile.TarInfo(f"{sample.key}.{part}")
                info.size = len(content)
                if tar_format == tarfile.PAX_FORMAT:
                    info.mtime = 0.5  # needs a PAX header
                tar.addfile(info, io.BytesIO(content))
                if part == "jpg":
                    offsets.append(buffer.tell() - len(content) - -len(content) % 512)
    return buffer.getvalue(), offsets


def _describe(out: Path, manifest: Any, entries: Sequence[Any], counts: list[int]) -> None:
    split = manifest["splits"]["validation"]
    split["shards"], split["class_counts"] = entries, counts
    for file in split["side_files"]:
        content = (out / file["name"]).read_bytes()
        file["bytes"], file["sha256"] = len(content), hashlib.sha256(content).hexdigest()


def adapt_descriptions(out: Path) -> None:
    """Write _info.json and sizes.json by the manifest."""
    splits = read_manifest(out).splits
    info = {
        name: {
            "name": name,
            "num_samples": split.samples,
            "filenames": [shard.name for shard in split.shards],
            "shard_lengths": [shard.samples for shard in split.shards],
        }
        for name, split in splits.items()
    }
    sizes = {shard.name: shard.samples for split in splits.values() for shard in split.shards}
    (out / "_info.json").write_text(json.dumps({"splits": info}))
    (out / "sizes.json").write_text(json.dumps(sizes))


def made(out: Path) -> list[list[Made]]:
    """The validation samples of OUT, for ``forge``."""
    manifest = read_manifest(out)
    split = ShardSplit(out, manifest, "validation")
    ids = np.arange(len(split))
    facts = zip(split.sizes(ids).tolist(), split.labels(ids).tolist(), strict=True)
    samples = [
        Made(split.name(i)[0], split.read(i).tobytes(), *size, label, original=split.name(i)[1])
        for i, (size, label) in enumerate(facts)
    ]
    first = split.shard_lengths[0]
    return [samples[:first], samples[first:]]
