"""The on-disk contract of a shard folder; the writer and the reader share it.

A folder holds ``<dataset>-<split>-NNNN.tar`` with one ``.idx`` beside each, and for all of
them ``manifest.json`` (this project), ``_info.json`` (timm) and ``sizes.json`` (open_clip).
Per split, ``<dataset>-<split>.samples.npy`` holds one SAMPLE_DTYPE row per sample in shard
order, and ``<dataset>-<split>.names.bin`` the keys and original names.
"""

import hashlib
import json
import mmap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, UserError

MANIFEST = "manifest.json"
TIMM_INFO = "_info.json"
OPEN_CLIP_SIZES = "sizes.json"
FORMAT_VERSION = 1

SAMPLE_DTYPE = np.dtype(
    [
        ("shard", "<u4"),
        ("offset", "<u8"),  # of the JPEG's first byte in its tar
        ("bytes", "<u4"),  # of the JPEG
        ("width", "<u4"),  # pixels, as stored (EXIF orientation is not applied)
        ("height", "<u4"),
        ("label", "<u4"),
        ("name_offset", "<u8"),  # in the names file
    ]
)


def shard_name(dataset: str, split: str, index: int) -> str:
    """File name of a shard, ``imagenet1k-train-0007.tar``."""
    return f"{dataset}-{split}-{index:04d}.tar"


def index_name(shard: str) -> str:
    """File name of the DALI index beside a shard."""
    return shard.removesuffix(".tar") + ".idx"


def samples_name(dataset: str, split: str) -> str:
    """File name of a split's sample rows."""
    return f"{dataset}-{split}.samples.npy"


def names_name(dataset: str, split: str) -> str:
    """File name of a split's keys and original names."""
    return f"{dataset}-{split}.names.bin"


def pack_name(key: str, original: str) -> bytes:
    """One record of the names file: ``key NUL original NUL``."""
    return b"%s\0%s\0" % (key.encode(), original.encode(errors="surrogateescape"))


@dataclass(frozen=True)
class ShardEntry:
    """What the manifest says of one shard."""

    name: str
    sha256: str
    bytes: int
    samples: int


@dataclass(frozen=True)
class SideFile:
    """What the manifest says of a split's sample rows or names file."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Quarantined:
    """A source image that was left out, by its original relative name."""

    name: str
    reason: str


@dataclass(frozen=True)
class SplitManifest:
    """What the manifest says of one split."""

    shards: list[ShardEntry]
    class_counts: list[int]
    """Samples per label."""
    options: dict[str, Any]
    """What decided the bytes: seed, shard count, check, source digest."""
    source: dict[str, Any]
    """Layout, path and size of the source."""
    quarantine: list[Quarantined] = field(default_factory=list[Quarantined])
    duplicates: list[list[str]] = field(default_factory=list[list[str]])
    """Original names of images whose bytes are the same, a list per image; all are kept."""
    warnings: list[str] = field(default_factory=list[str])
    side_files: list[SideFile] = field(default_factory=list[SideFile])

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)

    @property
    def digest(self) -> str:
        """sha256 (hex) over the shards' hashes: the identity of the split's bytes."""
        return hashlib.sha256("".join(s.sha256 for s in self.shards).encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``."""

    dataset: str
    classes: list[str]
    """Class names; the label is the position."""
    splits: dict[str, SplitManifest]
    tools: dict[str, str]
    """Versions of what wrote the shards."""
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=True) + "\n"


def read_manifest(root: Path) -> Manifest:
    """Read a folder's manifest.

    Raises UserError where there is none, DataError where it is damaged.
    """
    path = root / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format_version"] != FORMAT_VERSION:
            raise DataError(
                f"{path}: format_version={raw['format_version']}, this code reads "
                f"{FORMAT_VERSION}; write the shards again with data_prep/shard.py"
            )
        splits = {name: _split_from_json(split) for name, split in raw["splits"].items()}
        return Manifest(raw["dataset"], raw["classes"], splits, raw["tools"])
    except FileNotFoundError:
        raise UserError(
            f"data.root={root}: no {MANIFEST} there; write shards with "
            f"`python data_prep/shard.py SOURCE {root}` or set data.root=FOLDER"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); put a copy of it back, or delete {root} and write it "
            f"again with `python data_prep/shard.py SOURCE {root}`"
        ) from None


def _split_from_json(raw: Mapping[str, Any]) -> SplitManifest:
    return SplitManifest(
        shards=[ShardEntry(**shard) for shard in raw["shards"]],
        class_counts=list(raw["class_counts"]),
        options=dict(raw["options"]),
        source=dict(raw["source"]),
        quarantine=[Quarantined(**entry) for entry in raw["quarantine"]],
        # Absent in manifests of version 0.1.
        duplicates=[list(names) for names in raw.get("duplicates", [])],
        warnings=list(raw["warnings"]),
        side_files=[SideFile(**file) for file in raw["side_files"]],
    )


class ShardSplit:
    """One split of a shard folder, opened for random access; sample ids are 0..len-1."""

    def __init__(self, root: Path, manifest: Manifest, split: str):
        self.root = root
        self.dataset = manifest.dataset
        self.split = split
        self.classes = manifest.classes
        self.manifest = manifest.splits[split]
        self.digest = self.manifest.digest
        self.shard_lengths: list[int] = [shard.samples for shard in self.manifest.shards]
        names = (samples_name(manifest.dataset, split), names_name(manifest.dataset, split))
        self._rows: NDArray[np.void] = np.load(root / names[0], mmap_mode="r")
        self._names_path = root / names[1]
        self._tars: dict[int, mmap.mmap] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def labels(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """ids: (B,) sample ids. Returns (B,) labels."""
        return self._rows["label"][ids].astype(np.int64)

    def sizes(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """ids: (B,) sample ids. Returns (B, 2): width and height in pixels."""
        rows = self._rows[ids]
        return np.stack([rows["width"], rows["height"]], axis=1).astype(np.int64)

    def read(self, sample: int) -> NDArray[np.uint8]:
        """The JPEG file of a sample: (bytes,) uint8, a view of the mapped tar."""
        row = self._rows[sample]
        return np.frombuffer(
            self._tar(int(row["shard"])), np.uint8, int(row["bytes"]), int(row["offset"])
        )

    def name(self, sample: int) -> tuple[str, str]:
        """Key and original relative name of a sample."""
        with self._names_path.open("rb") as file:
            file.seek(int(self._rows[sample]["name_offset"]))
            record = b""
            while record.count(b"\0") < 2:
                chunk = file.read(512)
                if not chunk:
                    raise DataError(f"{self._names_path} ends inside the name of sample {sample}")
                record += chunk
        key, original = record.split(b"\0")[:2]
        return key.decode(), original.decode(errors="surrogateescape")

    def _tar(self, shard: int) -> mmap.mmap:
        if shard not in self._tars:
            with (self.root / self.manifest.shards[shard].name).open("rb") as file:
                self._tars[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._tars[shard]


def open_split(root: Path | str, split: str) -> ShardSplit:
    """Open a split after checking that its files are those of the manifest (by size).

    Raises UserError for a missing folder or split, DataError for missing or changed files.
    """
    root = Path(root)
    manifest = read_manifest(root)
    if split not in manifest.splits:
        raise UserError(
            f"{root} holds the splits {', '.join(manifest.splits)}, not {split!r}; "
            f"set data.train_split / data.val_split or shard it with --split {split}"
        )
    problems = [
        problem for shard in manifest.splits[split].shards for problem in _check(root, shard)
    ]
    for name in (samples_name(manifest.dataset, split), names_name(manifest.dataset, split)):
        if not (root / name).is_file():
            problems.append(f"{name} is missing")
    for file in manifest.splits[split].side_files:
        path = root / file.name
        if path.is_file() and (size := path.stat().st_size) != file.bytes:
            problems.append(f"{file.name} has {size} bytes, the manifest says {file.bytes}")
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems[:10])
        more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DataError(
            f"{root} does not match its {MANIFEST}:{listed}{more}\n"
            f"run `python data_prep/shard.py SOURCE {root}` again: it rewrites what is missing"
        )
    opened = ShardSplit(root, manifest, split)
    if len(opened) != manifest.splits[split].samples:
        raise DataError(
            f"{root / samples_name(manifest.dataset, split)} has {len(opened)} rows, the manifest "
            f"{manifest.splits[split].samples} samples; run data_prep/shard.py again"
        )
    return opened


def _check(root: Path, shard: ShardEntry) -> list[str]:
    problems: list[str] = []
    tar, index = root / shard.name, root / index_name(shard.name)
    if not tar.is_file():
        problems.append(f"{shard.name} is missing")
    elif (size := tar.stat().st_size) != shard.bytes:
        problems.append(f"{shard.name} has {size} bytes, the manifest says {shard.bytes}")
    if not index.is_file():
        problems.append(f"{index.name} is missing")
    return problems
