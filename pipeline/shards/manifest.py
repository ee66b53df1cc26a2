"""``manifest.json``: what a shard folder holds, sealed by a hash over all that it says."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import DataError, UserError
from pipeline.shards.files import MANIFEST, repair_command

FORMAT_VERSION = 2
FIRST_VERSION = 1
"""Had neither the manifest's own hash nor those of the indexes."""


@dataclass(frozen=True)
class ShardEntry:
    """What the manifest says of one shard."""

    name: str
    sha256: str
    bytes: int
    samples: int
    index_sha256: str | None
    """Of the DALI index; None: format version 1 wrote the shard."""


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

    @property
    def has_index_hashes(self) -> bool:
        """Whether the hash of every index is known; format version 1 kept none."""
        return all(shard.index_sha256 is not None for shard in self.shards)


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
        """The text of the file, sealed."""
        return json.dumps(sealed(asdict(self)), indent=1, ensure_ascii=True) + "\n"


def sealed(said: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of a manifest with ``sha256`` over all of them, spaces left aside."""
    rest = {key: value for key, value in said.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return rest | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def read_manifest(root: Path, oldest: int = FORMAT_VERSION) -> Manifest:
    """Read a folder's manifest, of format version ``oldest`` or newer.

    Raises UserError where there is none or it cannot be read, DataError where it is damaged, was
    edited, or is of another version.
    """
    path = root / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        _check_version(raw["format_version"], oldest, root)
        if raw["format_version"] > FIRST_VERSION and raw != sealed(raw):
            raise DataError(
                f"{path} is not what was written there: its sha256 says {raw['sha256'][:12]}, its "
                f"contents have {sealed(raw)['sha256'][:12]}; undo the edit, put a copy of it "
                "back, or write the shards into another folder with data_prep/shard.py"
            )
        splits = {name: _split_from_json(split) for name, split in raw["splits"].items()}
        return Manifest(raw["dataset"], raw["classes"], splits, raw["tools"])
    except FileNotFoundError:
        raise UserError(
            f"data.root={root}: no {MANIFEST} there; write shards with "
            f"`python data_prep/shard.py SOURCE {root}` or set data.root=FOLDER"
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); give this account the right to: "
            f"`chmod -R a+rX {root}`"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); put a copy of it back, or delete {root} and write it "
            f"again with `python data_prep/shard.py SOURCE {root}`"
        ) from None


def _check_version(found: int, oldest: int, root: Path) -> None:
    if found < oldest:
        raise DataError(
            f"{root / MANIFEST}: format_version={found}, this code reads {FORMAT_VERSION}; "
            f"`{repair_command(root)}` brings it up to date, and keeps every shard"
        )
    if found > FORMAT_VERSION:
        raise DataError(
            f"{root / MANIFEST}: format_version={found}, this code reads {FORMAT_VERSION}; use "
            "the newer code that wrote it, or write the shards into another folder with this one"
        )


def _split_from_json(raw: Mapping[str, Any]) -> SplitManifest:
    return SplitManifest(
        shards=[ShardEntry(**({"index_sha256": None} | shard)) for shard in raw["shards"]],
        class_counts=list(raw["class_counts"]),
        options=dict(raw["options"]),
        source=dict(raw["source"]),
        quarantine=[Quarantined(**entry) for entry in raw["quarantine"]],
        # Absent in manifests of version 0.1.
        duplicates=[list(names) for names in raw.get("duplicates", [])],
        warnings=list(raw["warnings"]),
        side_files=[SideFile(**file) for file in raw["side_files"]],
    )
