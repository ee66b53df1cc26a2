"""What a run prints when it is done."""

import shlex
from typing import Any

from data_prep import imagenet1k
from data_prep.job import Outcome
from data_prep.sources import SPLITS
from data_prep.wording import named, plural, printable
from pipeline.log import duration
from pipeline.shards import MANIFEST, Quarantined, SplitManifest

_SHOWN = 10


def as_text(outcome: Outcome, seconds: float | None) -> str:
    """A few lines for a person; seconds: of the whole run, if one process knows them."""
    lines = [f"{printable(outcome.out)}: {plural(len(outcome.manifest.classes), 'class')}"]
    for name in outcome.splits:
        split = outcome.manifest.splits[name]
        lines.append(
            f"  {name}: {plural(split.samples, 'sample')} in {plural(len(split.shards), 'shard')}, "
            f"{_bytes(split) / 1e6:,.1f} MB, {len(split.quarantine)} quarantined"
        )
        lines += [f"    {_bad(bad)}" for bad in split.quarantine[:_SHOWN]]
        if len(split.quarantine) > _SHOWN:
            lines.append(f"    and {len(split.quarantine) - _SHOWN} more, see {MANIFEST}")
        if split.duplicates:
            copies = plural(len(split.duplicates), "image")
            lines.append(f"    {copies} kept more than once: {_equal(split.duplicates)}")
    if outcome.shards_written:
        lines.append(
            f"wrote {plural(outcome.shards_written, 'shard')} from "
            f"{plural(outcome.images_written, 'image')}{_pace(outcome, seconds)}"
        )
    if outcome.repaired:
        lines.append(f"wrote again: {', '.join(outcome.repaired)}")
    if not outcome.shards_written and not outcome.repaired:
        lines.append("nothing to do: every shard is there (verify.py reads what is in them)")
    return "\n".join([*lines, f"next: {next_command(outcome)}"])


def as_json(outcome: Outcome, seconds: float) -> dict[str, Any]:
    """The same for programs."""
    return {
        "out": str(outcome.out),
        "dataset": outcome.manifest.dataset,
        "layout": outcome.layout,
        "classes": len(outcome.manifest.classes),
        "splits": {
            name: {
                "samples": split.samples,
                "shards": len(split.shards),
                "bytes": _bytes(split),
                "digest": split.digest,
                "quarantined": [{"name": q.name, "reason": q.reason} for q in split.quarantine],
                "duplicates": split.duplicates,
                "warnings": split.warnings,
            }
            for name, split in outcome.manifest.splits.items()
            if name in outcome.splits
        },
        "shards_written": outcome.shards_written,
        "images_written": outcome.images_written,
        "files_repaired": outcome.repaired,
        "seconds": round(seconds, 3),
        "images_per_second": round(outcome.images_written / max(seconds, 1e-9), 1),
        "next": next_command(outcome),
    }


def next_command(outcome: Outcome) -> str:
    """What to do with what was written: shard the split that is missing, or train."""
    root = shlex.quote(printable(outcome.out))
    manifest = outcome.manifest
    if missing := [split for split in SPLITS if split not in manifest.splits]:
        return f"python data_prep/shard.py SOURCE {root} --split {missing[0]}"
    if manifest.dataset == imagenet1k.NAME and imagenet1k.is_all(manifest.classes):
        return f"python slurm/launch.py --nodes 8 configs/m48.yaml data.root={root}"
    if manifest.dataset == "digits":
        return f"python slurm/launch.py --cluster local configs/digits.yaml data.root={root}"
    return (
        f"python slurm/launch.py --cluster local configs/s12.yaml data.root={root} "
        f"model.num_classes={len(manifest.classes)}"
    )


def _pace(outcome: Outcome, seconds: float | None) -> str:
    if seconds is None:
        return ""
    images = f"{outcome.images_written / max(seconds, 1e-9):,.0f} images/s"
    size = f"{outcome.bytes_written / 1e6 / max(seconds, 1e-9):,.1f} MB/s"
    return f" in {duration(seconds)} ({images}, {size})"


def _equal(groups: list[list[str]]) -> str:
    """``a = b, c = d = e`` and how many more."""
    return named(" = ".join(group[:3]) + (" = ..." if len(group) > 3 else "") for group in groups)


def _bytes(split: SplitManifest) -> int:
    return sum(shard.bytes for shard in split.shards)


def _bad(bad: Quarantined) -> str:
    return f"{printable(bad.name)}: {bad.reason}"
