"""Turns the records of whole shards into the files that readers open; the manifest is last."""

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_prep.durable import new_file
from data_prep.shard_plan import SplitPlan
from data_prep.writing.duplicates import find_duplicates
from data_prep.writing.finished import updated
from data_prep.writing.work_folder import ShardRecord, WorkFolder
from pipeline.errors import DataError
from pipeline.shards import (
    MANIFEST,
    OPEN_CLIP_SIZES,
    SAMPLE_DTYPE,
    TIMM_INFO,
    Manifest,
    SideFile,
    SplitManifest,
    names_name,
    samples_name,
)

_TOOLS = (
    "numpy",
    "pillow",
    "simplejpeg",
    "nvidia-dali-cuda120",
    "nvidia-dali-cuda130",
)


class SplitRecords:
    """The records of all shards of a split; what is large of them, one at a time."""

    def __init__(self, plan: SplitPlan):
        """Raises DataError where a record is missing."""
        self.plan = plan
        self._work = WorkFolder(plan.out, plan.split)
        found = [(record.entry, record.quarantine) for record in self]
        self.shards = [entry for entry, _ in found]
        bad = [bad for _, quarantine in found for bad in quarantine]
        self.quarantine = sorted([*plan.listing.reasons, *bad], key=lambda bad: bad.name)
        """Everything of the split that was left out, sorted by name."""

    def __iter__(self) -> Iterator[ShardRecord]:
        """In shard order."""
        for k in range(self.plan.shards):
            record = self._work.load(k)
            if record is None:
                raise DataError(
                    f"{self.plan.split}: shard {k} vanished while others were written; "
                    "run the same command again"
                )
            yield record


def finish_split(records: SplitRecords, warnings: list[str]) -> SplitManifest:
    """Write a split's side files; returns its part of the manifest."""
    plan = records.plan
    counts = np.zeros(len(plan.classes), np.int64)
    fingerprints: list[NDArray[np.uint64]] = []
    samples = plan.out / samples_name(plan.dataset, plan.split)
    names = plan.out / names_name(plan.dataset, plan.split)
    with new_file(samples) as rows_file, new_file(names) as names_file:
        start_array(rows_file, sum(shard.samples for shard in records.shards))
        for record in records:
            record.rows["name_offset"] += names_file.tell()
            rows_file.write(record.rows.tobytes())
            names_file.write(record.names)
            counts += np.bincount(record.rows["label"], minlength=len(counts))
            fingerprints.append(record.fingerprints)
    return SplitManifest(
        shards=records.shards,
        class_counts=counts.tolist(),
        options=plan.options,
        source={
            "layout": plan.source.layout,
            "path": str(plan.source.path),
            "files": plan.listing.files,
            "bytes": plan.listing.total_bytes,
            "hidden_files_ignored": plan.listing.hidden_files,
        },
        quarantine=records.quarantine,
        duplicates=find_duplicates(
            plan.out, plan.dataset, plan.split, np.concatenate(fingerprints)
        ),
        warnings=warnings,
        side_files=[_side_file(samples), _side_file(names)],
    )


def start_array(file: BinaryIO, samples: int) -> None:
    """Begin an .npy file of that many SAMPLE_DTYPE rows."""
    about: dict[str, Any] = {
        "descr": np.lib.format.dtype_to_descr(SAMPLE_DTYPE),
        "fortran_order": False,
        "shape": (samples,),
    }
    np.lib.format.write_array_header_1_0(file, about)


def write_manifest(out: Path, manifest: Manifest) -> list[str]:
    """Write timm's, open_clip's and our own description; returns the names of changed files."""
    info = {
        "splits": {
            name: {
                "name": name,
                "num_samples": split.samples,
                "filenames": [shard.name for shard in split.shards],
                "shard_lengths": [shard.samples for shard in split.shards],
            }
            for name, split in manifest.splits.items()
        }
    }
    sizes = {s.name: s.samples for split in manifest.splits.values() for s in split.shards}
    texts = {
        TIMM_INFO: json.dumps(info, indent=1) + "\n",
        OPEN_CLIP_SIZES: json.dumps(sizes, indent=1) + "\n",
        MANIFEST: manifest.to_json(),
    }
    return [name for name, text in texts.items() if updated(out / name, text.encode())]


@functools.cache
def tool_versions() -> dict[str, str]:
    """Versions of the packages that judge images and write rows."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for name in _TOOLS:
        with contextlib.suppress(PackageNotFoundError):  # of DALI, one of the two is there
            found[name] = version(name)
    return found


def _side_file(path: Path) -> SideFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return SideFile(path.name, digest, path.stat().st_size)
