"""Opens a split after holding every file of it against the manifest."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import DataError, UserError
from pipeline.shards.files import MANIFEST, index_name, names_name, repair_command, samples_name
from pipeline.shards.manifest import Manifest, read_manifest
from pipeline.shards.split import ShardSplit

_THREADS = 16  # a network file system answers late, and many at once
_SHOWN = 10


class _Expected(NamedTuple):
    """What the manifest says of a file; None: not to be checked."""

    name: str
    bytes: int | None
    sha256: str | None


def open_split(root: Path | str, split: str) -> ShardSplit:
    """Open a split after checking that its files are those of the manifest.

    Indexes and side files by their hashes, tars by their sizes: data_prep/verify.py hashes them.
    Raises UserError for a missing folder or split, DataError for missing or changed files.
    """
    root = Path(root)
    manifest = read_manifest(root)
    if split not in manifest.splits:
        raise UserError(
            f"{root} holds the splits {', '.join(manifest.splits)}, not {split!r}; "
            f"set data.train_split / data.val_split or shard it with --split {split}"
        )
    if problems := _problems(root, manifest, split):
        listed = "".join(f"\n  {problem}" for problem in problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"{root} does not match its {MANIFEST}:{listed}{more}\n"
            f"what is missing or changed is written again by `{repair_command(root)}`; whole "
            "shards stay"
        )
    return ShardSplit(root, manifest, split)


def _problems(root: Path, manifest: Manifest, split: str) -> list[str]:
    """What is wrong with a split's files, in the manifest's order."""
    about = manifest.splits[split]
    listed = {file.name: file for file in about.side_files}
    files: list[_Expected] = []
    for name in (samples_name(manifest.dataset, split), names_name(manifest.dataset, split)):
        if name not in listed:
            return [f"{MANIFEST} says nothing of {name}"]
        files.append(_Expected(name, listed[name].bytes, listed[name].sha256))
    if not about.has_index_hashes:
        return [f"{MANIFEST} has no sha256 of the .idx files: {split} is of format_version=1"]
    for shard in about.shards:
        files.append(_Expected(shard.name, shard.bytes, None))
        files.append(_Expected(index_name(shard.name), None, shard.index_sha256))
    todo = iter(enumerate(files))
    found: dict[int, str] = {}

    def check() -> None:
        for number, file in todo:  # each is dealt out once, to whichever thread asks first
            if problem := _problem(root, file):
                found[number] = problem

    with ThreadPoolExecutor(_THREADS) as pool:
        for done in [pool.submit(check) for _ in range(_THREADS)]:
            done.result()
    return [found[number] for number in sorted(found)]


def _problem(root: Path, file: _Expected) -> str | None:
    try:
        with (root / file.name).open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            if file.bytes not in (None, size):
                return f"{file.name} has {size} bytes, the manifest says {file.bytes}"
            if file.sha256 is None:
                return None
            # In pieces, not mapped: pages of a mapping count as this process's memory.
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{file.name} is missing"
    except PermissionError as error:
        return f"{file.name} cannot be read ({error.strerror}): `chmod a+r {root / file.name}`"
    except OSError as error:
        return f"{file.name} cannot be read ({error.strerror})"
    if digest == file.sha256:
        return None
    return f"{file.name} has sha256 {digest[:12]}, the manifest says {file.sha256[:12]}"
