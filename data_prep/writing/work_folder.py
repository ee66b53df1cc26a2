"""What has been done of a split that is not finished: ``OUT/.work-<split>/``.

``plan.json`` says what is being made, ``listing.npz`` of which files; ``NNNN.npz`` records a
shard that is whole. A shard without a record, in an unfinished split, does not exist.
"""

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.durable import new_file, write_file
from data_prep.sources import SplitListing
from data_prep.sources.entries import decoded, encoded
from data_prep.writing.finished import has_size
from pipeline.errors import DataError
from pipeline.shards import Quarantined, ShardEntry, index_name

_PREFIX = ".work-"


@dataclass(frozen=True)
class ShardRecord:
    """What is known of one written shard."""

    entry: ShardEntry
    rows: NDArray[np.void]
    """(N,) SAMPLE_DTYPE; ``name_offset`` counts from the first name of this shard."""
    names: bytes
    fingerprints: NDArray[np.uint64]
    """(N,) of the images: equal ones have equal fingerprints."""
    quarantine: list[Quarantined]


@dataclass(frozen=True)
class WorkFolder:
    """The work folder of a split."""

    out: Path
    split: str

    @property
    def path(self) -> Path:
        return self.out / f"{_PREFIX}{self.split}"

    @property
    def scratch(self) -> Path:
        """A folder for what a source must unpack."""
        return self.path / "unpacked"

    def begin(self, plan: Mapping[str, Any], listing: SplitListing) -> None:
        """Create it where needed; the plan is written last."""
        self.path.mkdir(exist_ok=True)
        if self.plan() is None:
            refused = listing.refused
            with new_file(self.path / "listing.npz") as file:
                np.savez(
                    file,
                    names=listing.entries.names,
                    sizes=listing.entries.sizes,
                    refused_names=np.array([encoded(name) for name in refused], np.bytes_),
                    refused_sizes=np.array(list(refused.values()), np.int64),
                )
            write_file(self.path / "plan.json", json.dumps(dict(plan), indent=1).encode())

    def plan(self) -> dict[str, Any] | None:
        """The plan that the folder was begun with, if it was."""
        try:
            return json.loads((self.path / "plan.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DataError(
                f"{self.path / 'plan.json'} is damaged ({error}); remove {self.path}"
            ) from None

    def listing(self) -> dict[str, int]:
        """Name -> bytes of the files that the folder was begun with."""
        found: dict[str, int] = {}
        with np.load(self.path / "listing.npz") as arrays:
            for kind in ("", "refused_"):
                names, sizes = arrays[f"{kind}names"].tolist(), arrays[f"{kind}sizes"].tolist()
                found |= dict(zip(map(decoded, names), sizes, strict=True))
        return found

    def record(self, index: int, record: ShardRecord) -> None:
        """Say that a shard is whole."""
        about = {
            "entry": asdict(record.entry),
            "quarantine": [asdict(q) for q in record.quarantine],
        }
        with new_file(self._record_path(index)) as file:
            np.savez(
                file,
                rows=record.rows,
                names=np.frombuffer(record.names, np.uint8),
                fingerprints=record.fingerprints,
                about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            )

    def load(self, index: int) -> ShardRecord | None:
        """The record of a shard, if there is one and its tar has the recorded size."""
        path = self._record_path(index)
        if not path.is_file():
            return None
        try:
            with np.load(path) as arrays:
                rows, names = arrays["rows"], arrays["names"].tobytes()
                fingerprints = arrays["fingerprints"]
                about = json.loads(arrays["about"].tobytes())
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is damaged ({error}); remove it and run again") from error
        if about["entry"].get("index_sha256") is None:
            return None  # of format version 1
        entry = ShardEntry(**about["entry"])
        tar = self.out / entry.name
        if not has_size(tar, entry.bytes) or not (self.out / index_name(entry.name)).is_file():
            return None
        quarantine = [Quarantined(**q) for q in about["quarantine"]]
        return ShardRecord(entry, rows, names, fingerprints, quarantine)

    def remove(self) -> None:
        """Delete the folder; its plan goes first, so that a half-deleted one counts for nothing."""
        (self.path / "plan.json").unlink(missing_ok=True)
        if self.path.exists():
            shutil.rmtree(self.path)

    def _record_path(self, index: int) -> Path:
        return self.path / f"{index:04d}.npz"


def is_work_folder(name: str) -> bool:
    """Whether a name in OUT is that of a work folder."""
    return name.startswith(_PREFIX)
