"""Writes again what a verification found broken, from the source and with the same settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep.budget import MaxBad
from data_prep.shard_plan import Reencode
from data_prep.sharding import Request, Watcher, shard_source
from data_prep.verifying.findings import Problem
from data_prep.verifying.verification import Findings
from pipeline.shards import Manifest


@dataclass(frozen=True)
class RepairSource:
    """Where the images are."""

    path: Path
    layout: str | None = None
    """None: what is found there."""


def broken_shards(manifest: Manifest, problems: list[Problem]) -> dict[str, list[int]]:
    """Split -> shards whose tar is not the manifest's."""
    names = {problem.file for problem in problems if problem.can_repair}
    found = {
        split: [k for k, entry in enumerate(about.shards) if entry.name in names]
        for split, about in manifest.splits.items()
    }
    return {split: shards for split, shards in found.items() if shards}


def splits_to_repair(manifest: Manifest, problems: list[Problem]) -> list[str]:
    """Those with broken files; if only others are broken, the split that is listed fastest."""
    prefixes = {split: f"{manifest.dataset}-{split}" for split in manifest.splits}
    names = {problem.file for problem in problems if problem.can_repair}
    found = [
        split
        for split, prefix in prefixes.items()
        if any(name.startswith((f"{prefix}-", f"{prefix}.")) for name in names)
        or not manifest.splits[split].has_index_hashes
    ]
    if found or not names:
        return found
    return [min(prefixes, key=lambda split: manifest.splits[split].samples)]


def repair(
    findings: Findings, source: RepairSource, workers: int | None, watcher: Watcher
) -> list[str]:
    """Bring OUT back to its manifest; returns the splits that were written to.

    Shards that are whole keep their files. Raises what shard_source raises, and DataError where
    the source gives other bytes than the manifest says.
    """
    broken = broken_shards(findings.manifest, findings.problems)
    splits = splits_to_repair(findings.manifest, findings.problems)
    for split in splits:
        shard_source(_request(findings, split, broken, source, workers), watcher)
    return splits


def _request(
    findings: Findings,
    split: str,
    broken: Mapping[str, list[int]],
    source: RepairSource,
    workers: int | None,
) -> Request:
    """What the split was once written with: every split has its own settings."""
    manifest = findings.manifest
    about = manifest.splits[split]
    options = about.options
    bad = len(about.quarantine)
    max_side = options.get("max_side")
    return Request(
        source=source.path,
        out=findings.out,
        layout=source.layout,
        split=split,
        name=manifest.dataset,
        classes=manifest.classes,
        allow_partial=True,
        seed=options["seed"],
        shards=options["shards"],
        max_bad=MaxBad(str(bad), count=bad),
        check=options["check"],
        reencode=None if max_side is None else Reencode(max_side, options["quality"]),
        workers=workers,
        broken=broken,
    )
