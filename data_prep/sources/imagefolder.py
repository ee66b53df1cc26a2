"""Image folders: ``SOURCE/{train,val}/<class>/...`` or one folder of class folders."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.sources import SPLITS, Entry, Source, SplitListing
from data_prep.wording import named, plural, printable
from pipeline.errors import DataError, UserError
from pipeline.shards import Quarantined

LAYOUT = "imagefolder"
IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
"""Names, in lower case, that make a file a candidate; DALI judges what is inside."""
VALIDATION_FOLDERS = ("val", "validation", "valid", "eval")

_WNID = re.compile(r"n\d{8}")
_LISTING_THREADS = 8  # network file systems answer several stat calls at once

_EXPECTED = (
    "expected SOURCE/train/<class>/*.jpg and SOURCE/val/<class>/*.jpg, or SOURCE/<class>/*.jpg"
)


@dataclass(frozen=True)
class FolderReader:
    """Reads entries below ``root``."""

    root: str

    def read(self, entry: Entry) -> bytes:
        path = os.path.join(self.root, entry.name)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise DataError(
                f"{printable(path)} cannot be read ({error.strerror}); make it readable, then run "
                "the same command again to continue"
            ) from error
        if len(data) != entry.bytes:
            raise DataError(
                f"{printable(path)} had {entry.bytes} bytes when SOURCE was listed and has "
                f"{len(data)} now; leave SOURCE alone while sharding, or use another OUT"
            )
        return data


def is_wnid(name: str) -> bool:
    """Whether a class name is an ImageNet synset such as ``n01440764``."""
    return _WNID.fullmatch(name) is not None


def open_folder(path: Path, split: str | None) -> Source:
    """List an image folder.

    ``split`` picks one of two, or says which one a folder of class folders is (train).
    Raises UserError for what is no image folder, DataError for contents that contradict it.
    """
    folders, loose = _visible(path)
    parts = _split_folders(path, folders)
    notices: list[str] = []
    if parts:
        others = sorted(set(folders) - set(parts.values()))
        if others:
            notices.append(f"ignored beside the split folders: {named(others)}")
        wanted = [split] if split else [name for name in SPLITS if name in parts]
        if missing := [name for name in wanted if name not in parts]:
            raise UserError(
                f"--split {missing[0]}: SOURCE={printable(path)} has only {named(parts.values())}; "
                f"leave --split out or give the {missing[0]} folder as SOURCE"
            )
        if not split and len(parts) < len(SPLITS):
            absent = next(name for name in SPLITS if name not in parts)
            notices.append(f"SOURCE has no {absent} folder: only {wanted[0]} is written")
    else:
        if not folders and not loose:
            raise UserError(f"SOURCE={printable(path)} is empty; {_EXPECTED}")
        wanted, parts = [split or "train"], {split or "train": "."}
    roots = {name: path / parts[name] for name in wanted}
    listings = [list_split(root, name) for name, root in roots.items()]
    if "train" in wanted or "train" not in parts:
        classes = listings[0].classes
    else:
        classes = _visible(path / parts["train"])[0]
    named_after = path.resolve()
    if len(parts) == 1 and named_after.name in (*SPLITS, *VALIDATION_FOLDERS):
        named_after = named_after.parent
    return Source(
        layout=LAYOUT,
        path=path,
        suggested_name=_dataset_name(named_after.name, classes),
        classes=classes,
        listings=listings,
        notices=notices,
    )


def list_split(root: Path, split: str) -> SplitListing:
    """List one folder of class folders. Raises UserError or DataError as open_folder."""
    classes, loose = _visible(root)
    images = [name for name in loose if _is_candidate(name)]
    if not classes:
        raise UserError(_no_class_folders(root, images))
    if images:
        raise UserError(
            f"{printable(root)} holds {plural(len(images), 'image')} beside its class folders "
            f"({named(images)}); move them into a class folder or out of SOURCE"
        )
    with ThreadPoolExecutor(_LISTING_THREADS) as threads:
        walks = list(threads.map(lambda name: _list_class(root, name), classes))
    if empty := [name for name, walk in zip(classes, walks, strict=True) if walk.is_empty]:
        raise DataError(
            f"{printable(root)}: {plural(len(empty), 'class folder')} without images: "
            f"{named(empty)}; fill or remove what should not be a class"
        )
    refused = sorted(item for walk in walks for item in walk.refused)
    notices = [f"ignored beside the class folders of {split}: {named(loose)}"] if loose else []
    return SplitListing(
        split=split,
        classes=classes,
        entries=sorted((e for walk in walks for e in walk.entries), key=lambda e: e.name),
        refused={name: size for name, size, _ in refused},
        reasons=[Quarantined(name, reason) for name, _, reason in refused],
        reader=FolderReader(str(root)),
        hidden_files=sum(walk.hidden_files for walk in walks),
        notices=notices,
    )


@dataclass
class _ClassWalk:
    entries: list[Entry] = field(default_factory=list)
    refused: list[tuple[str, int, str]] = field(default_factory=list)
    hidden_files: int = 0

    @property
    def is_empty(self) -> bool:
        return not self.entries and not self.refused


def _list_class(root: Path, class_name: str) -> _ClassWalk:
    walk = _ClassWalk()
    below_root = len(os.path.join(root, ""))
    for item in _walk(os.path.join(root, class_name)):
        if item.name.startswith("."):
            walk.hidden_files += 1
            continue
        name = item.path[below_root:]
        if not item.is_file():
            broken = item.is_symlink()
            reason = "a link to nothing" if broken else "not a regular file"
            walk.refused.append((name, 0, reason))
            continue
        size = item.stat().st_size
        if _is_candidate(item.name):
            walk.entries.append(Entry(class_name, name, size))
        else:
            suffixes = ", ".join(IMAGE_SUFFIXES)
            reason = f"not an image: its name ends in none of {suffixes}"
            walk.refused.append((name, size, reason))
    return walk


def _walk(folder: str) -> Iterator["os.DirEntry[str]"]:
    """Everything below a folder but folders; links are followed, hidden folders are not."""
    try:
        with os.scandir(folder) as items:
            found = list(items)
    except OSError as error:
        raise DataError(
            f"{printable(folder)} cannot be listed ({error.strerror}); "
            "make it readable or remove it"
        ) from error
    for item in found:
        if not item.is_dir():
            yield item
        elif not item.name.startswith("."):
            yield from _walk(item.path)


def _is_candidate(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def _visible(path: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the other things in ``path``, sorted, without hidden ones."""
    try:
        with os.scandir(path) as items:
            found = sorted((i.name, i.is_dir()) for i in items if not i.name.startswith("."))
    except FileNotFoundError:
        raise UserError(f"SOURCE={printable(path)} does not exist; {_EXPECTED}") from None
    except OSError as error:
        raise UserError(
            f"SOURCE={printable(path)} cannot be listed ({error.strerror}); {_EXPECTED}"
        ) from error
    return [n for n, is_dir in found if is_dir], [n for n, is_dir in found if not is_dir]


def _split_folders(path: Path, folders: list[str]) -> dict[str, str]:
    """Split name -> folder where ``folders`` are splits; empty where they are classes."""
    validation = [name for name in VALIDATION_FOLDERS if name in folders]
    present = [name for name in ("train", *validation) if name in folders]
    # A class may be called "train": split folders hold class folders, or nothing else is there.
    if not present or (len(present) < len(folders) and not any(_nests(path / p) for p in present)):
        return {}
    if len(validation) > 1:
        raise UserError(
            f"SOURCE={printable(path)} has several validation folders ({named(validation)}); "
            "keep one, or shard each with --split validation into its own OUT"
        )
    parts = {"train": "train"} if "train" in folders else {}
    return parts | ({"validation": validation[0]} if validation else {})


def _nests(folder: Path) -> bool:
    return bool(_visible(folder)[0])


def _no_class_folders(root: Path, images: list[str]) -> str:
    if not images:
        return f"{printable(root)} has no class folders; {_EXPECTED}"
    return (
        f"{printable(root)} holds {plural(len(images), 'image')} ({named(images)}) but no class "
        "folders, so there are no labels; ImageNet's own validation archive comes flat like this: "
        "move each image into the folder of its class (ILSVRC2012 devkit ground truth, or Kaggle's "
        "LOC_val_solution.csv)"
    )


def _dataset_name(folder: str, classes: list[str]) -> str:
    if all(is_wnid(name) for name in classes):
        return "imagenet1k"
    return re.sub(r"[^A-Za-z0-9_-]+", "_", folder).strip("_-") or "dataset"
