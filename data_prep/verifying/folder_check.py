"""What the files that describe a shard folder say, and which other files lie there."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep import imagenet1k
from data_prep.durable import is_temporary
from data_prep.reporting.report import REPORT
from data_prep.verifying.findings import WRITE_ANEW, Problem, condensed
from data_prep.wording import named, plural
from data_prep.writing.work_folder import is_work_folder
from pipeline.shards import (
    MANIFEST,
    OPEN_CLIP_SIZES,
    TIMM_INFO,
    Manifest,
    index_name,
    shard_name,
)

_SHARD_SUFFIXES = (".tar", ".idx")
_HOLDS = ".shard."
"""How the names begin that keep other writers away."""


def manifest_problems(manifest: Manifest) -> list[Problem]:
    """What is wrong with a manifest by itself."""
    classes = manifest.classes
    said: list[tuple[str, str]] = []
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        said.append((f"classes holds {named(twice)} twice", "a class has one label"))
    wnids = imagenet1k.wnids()
    if len(classes) == len(wnids) and set(classes) == set(wnids) and classes != list(wnids):
        label = next(i for i, name in enumerate(classes) if name != wnids[i])
        found = f"classes are ImageNet-1k's in another order: label {label} is {classes[label]}"
        said.append((found, f"everybody sorts them, so that it is {wnids[label]}"))
    if not manifest.splits or not all(about.shards for about in manifest.splits.values()):
        said.append(("splits lack shards", "a split has one at least"))
    digest = hashlib.sha256(json.dumps(classes).encode()).hexdigest()
    for split, about in manifest.splits.items():
        if about.options.get("classes_sha256") not in (None, digest):
            rule = "the shards were written with another class list or order"
            said.append((f"classes do not have splits.{split}'s classes_sha256", rule))
        if len(about.class_counts) != len(classes):
            found = f"splits.{split}.class_counts has {len(about.class_counts)} entries"
            said.append((found, f"there are {plural(len(classes), 'class')}"))
        for k, entry in enumerate(about.shards):
            if entry.name != (name := shard_name(manifest.dataset, split, k)):
                said.append((f"splits.{split}.shards[{k}] is {entry.name}", f"its name is {name}"))
    return [
        Problem(MANIFEST, found, f"{rule}; {WRITE_ANEW}", can_repair=False) for found, rule in said
    ]


def description_problems(
    out: Path, manifest: Manifest, counts: Mapping[str, Sequence[int]]
) -> list[Problem]:
    """What timm's and open_clip's files say otherwise. ``counts``: samples of each shard."""
    splits = manifest.splits
    names = {split: [entry.name for entry in about.shards] for split, about in splits.items()}
    info = {
        "splits": {
            split: {
                "name": split,
                "num_samples": sum(counts[split]),
                "filenames": names[split],
                "shard_lengths": list(counts[split]),
            }
            for split in splits
        }
    }
    sizes = {
        name: count
        for split in splits
        for name, count in zip(names[split], counts[split], strict=True)
    }
    return [
        *_described(out / TIMM_INFO, info, "timm"),
        *_described(out / OPEN_CLIP_SIZES, sizes, "open_clip"),
    ]


def _described(path: Path, right: Mapping[str, Any], reader: str) -> list[Problem]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return [Problem(path.name, "is missing", f"{reader} reads it")]
    except OSError as error:
        return [Problem(path.name, f"cannot be read ({error.strerror})", f"{reader} reads it")]
    except ValueError as error:
        return [Problem(path.name, f"is no JSON ({error})", f"{reader} reads it")]
    problems = [
        Problem(path.name, says, f"the shards say {holds}")
        for says, holds in _differences(found, right, "")
    ]
    return condensed(problems, len(problems))


def _differences(found: Any, right: Any, where: str) -> Iterator[tuple[str, str]]:
    """``("splits.train.num_samples is 6", "5")`` and so on."""
    if isinstance(right, dict) and isinstance(found, dict):
        for name in [*right, *(name for name in found if name not in right)]:
            below = f"{where}.{name}" if where else name
            if name not in found:
                yield f"{below} is missing", json.dumps(right[name])
            elif name not in right:
                yield f"{below} is {json.dumps(found[name])}", "nothing"
            else:
                yield from _differences(found[name], right[name], below)
    elif isinstance(right, list) and isinstance(found, list) and len(right) == len(found):
        for i, (one, other) in enumerate(zip(found, right, strict=True)):
            yield from _differences(one, other, f"{where}[{i}]")
    elif found != right or type(found) is not type(right):
        yield f"{where or 'all of it'} is {_short(found)}", _short(right)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def folder_problems(out: Path, manifest: Manifest) -> tuple[list[Problem], list[str]]:
    """Files that the manifest does not know: those that readers would take, and notes on others."""
    known = {MANIFEST, TIMM_INFO, OPEN_CLIP_SIZES, REPORT}
    for about in manifest.splits.values():
        known |= {name for e in about.shards for name in (e.name, index_name(e.name))}
        known |= {file.name for file in about.side_files}
    problems: list[Problem] = []
    others: list[str] = []
    notes: list[str] = []
    for item in sorted(out.iterdir()):
        name = item.name
        if name in known:
            continue
        if name.startswith(_HOLDS):
            notes.append(f"{name}: somebody writes here, or was killed; what is said may change")
        elif is_work_folder(name):
            notes.append(f"{name}: a repair was not finished; what is said may change")
        elif is_temporary(name):
            problems.append(Problem(name, "was left by a killed writer", "nobody needs it"))
        elif name.endswith(_SHARD_SUFFIXES):
            rule = f"readers that take every {item.suffix} would read it; move it away"
            found = f"is not in {MANIFEST}"
            problems.append(Problem(name, found, rule, can_repair=False))
        else:
            others.append(name)
    if others:
        notes.append(f"other files, ignored: {named(others, shown=10)}")
    return problems, notes
