"""Turns the records of whole shards into the files that readers open; the manifest is last."""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path

import numpy as np

from data_prep.durable import new_file, write_file
from data_prep.finished import has_size
from data_prep.shard_plan import SplitPlan
from data_prep.work_folder import ShardRecord, WorkFolder
from pipeline.errors import DataError
from pipeline.shards import (
    MANIFEST,
    OPEN_CLIP_SIZES,
    TIMM_INFO,
    Manifest,
    Quarantined,
    SideFile,
    SplitManifest,
    names_name,
    samples_name,
)

_TOOLS = ("numpy", "pillow", "nvidia-dali")


def split_records(plan: SplitPlan) -> list[ShardRecord]:
    """The records of all shards of a split, in order. Raises DataError where one is missing."""
    work = WorkFolder(plan.out, plan.split)
    records = [work.load(k) for k in range(plan.shards)]
    if missing := [k for k, record in enumerate(records) if record is None]:
        raise DataError(
            f"{plan.split}: {len(missing)} shards vanished while they were written, the first is "
            f"number {missing[0]}; run the same command again"
        )
    return [record for record in records if record is not None]


def quarantined(plan: SplitPlan, records: Sequence[ShardRecord]) -> list[Quarantined]:
    """Everything of a split that was left out, sorted by name."""
    found = [bad for record in records for bad in record.quarantine]
    return sorted([*plan.listing.reasons, *found], key=lambda bad: bad.name)


def finish_split(
    plan: SplitPlan, records: Sequence[ShardRecord], warnings: list[str]
) -> SplitManifest:
    """Write a split's side files; returns its part of the manifest."""
    rows = np.concatenate([record.rows for record in records])
    starts = np.cumsum([0, *(len(record.names) for record in records[:-1])])
    rows["name_offset"] += np.repeat(starts, [len(r.rows) for r in records]).astype("<u8")
    samples = plan.out / samples_name(plan.dataset, plan.split)
    with new_file(samples) as file:
        np.save(file, rows)
    names = plan.out / names_name(plan.dataset, plan.split)
    write_file(names, b"".join(record.names for record in records))
    stamps = plan.listing.stamps()
    return SplitManifest(
        shards=[record.entry for record in records],
        class_counts=np.bincount(rows["label"], minlength=len(plan.classes)).tolist(),
        options=plan.options,
        source={
            "layout": plan.source.layout,
            "path": str(plan.source.path),
            "files": len(stamps),
            "bytes": sum(stamps.values()),
            "hidden_files_ignored": plan.listing.hidden_files,
        },
        quarantine=quarantined(plan, records),
        warnings=warnings,
        side_files=[_side_file(samples), _side_file(names)],
    )


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
    changed: list[str] = []
    for name, text in texts.items():
        path, content = out / name, text.encode()
        if not has_size(path, len(content)) or path.read_bytes() != content:
            write_file(path, content)
            changed.append(name)
    return changed


def tool_versions() -> dict[str, str]:
    """Versions of the packages that judge images and write rows."""
    found = {d.name.lower(): d.version for d in distributions() if d.name}
    return {
        name: version
        for name, version in sorted(found.items())
        if any(name == tool or name.startswith(f"{tool}-cuda") for tool in _TOOLS)
    }


def _side_file(path: Path) -> SideFile:
    content = path.read_bytes()
    return SideFile(path.name, hashlib.sha256(content).hexdigest(), len(content))
