"""Image folders: ``SOURCE/{train,val}/<class>/...`` or one folder of class folders."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from data_prep.sources import SPLITS, VALIDATION_NAMES, Entry, Source, SplitListing
from data_prep.sources.entries import Entries, join, pack
from data_prep.sources.readers import IMAGE_SUFFIXES, NOT_AN_IMAGE, FolderReader, is_candidate
from data_prep.sources.scan import scan
from data_prep.wording import named, plural, printable
from pipeline.errors import DataError, UserError
from pipeline.shards import Quarantined

LAYOUT = "imagefolder"
LOOKED_FOR = "SOURCE/train/<class>/*.jpg and SOURCE/val/<class>/*.jpg, or SOURCE/<class>/*.jpg"

_LISTERS = 8


def finds(path: Path) -> bool:
    """Whether there are split folders with class folders in them."""
    return path.is_dir() and any(
        (path / name).is_dir() and _nests(path / name) for name in ("train", *VALIDATION_NAMES)
    )


def could_be(path: Path) -> bool:
    """Whether there are folders at all, which then are classes."""
    return path.is_dir() and bool(visible(path)[0])


def open_source(path: Path, split: str | None, classes: Sequence[str] | None = None) -> Source:
    """List an image folder.

    ``split`` picks one of two, or says which one a folder of class folders is (train).
    Raises UserError for what is no image folder, DataError for contents that contradict it.
    """
    folders, loose = visible(path)
    parts = _split_folders(path, folders)
    notices: list[str] = []
    if parts:
        others = sorted(set(folders) - set(parts.values()))
        if "train" not in parts and split is None and any(_nests(path / name) for name in others):
            raise UserError(
                f"SOURCE={printable(path)} has {named(parts.values())} and {named(others)}, but no "
                "train; rename the one that is, or say --split validation"
            )
        if others:
            notices.append(f"ignored beside the split folders: {named(others)}")
        wanted, said = wanted_splits(path, parts, split)
        notices += said
    else:
        if not folders and not loose:
            raise UserError(f"SOURCE={printable(path)} is empty; looked for {LOOKED_FOR}")
        wanted, parts = [split or "train"], {split or "train": "."}
    listings = [list_split(path / parts[name], name) for name in wanted]
    has_other_train = "train" in parts and "train" not in wanted
    return Source(
        layout=LAYOUT,
        path=path,
        classes=visible(path / parts["train"])[0] if has_other_train else listings[0].classes,
        listings=listings,
        notices=notices,
    )


def wanted_splits(
    path: Path, parts: dict[str, str], split: str | None
) -> tuple[list[str], list[str]]:
    """The splits to write, and what should be said of one that is not there.

    ``parts``: split name -> what SOURCE calls it. Raises UserError where ``split`` is not there.
    """
    wanted = [split] if split else [name for name in SPLITS if name in parts]
    if missing := [name for name in wanted if name not in parts]:
        raise UserError(
            f"--split {missing[0]}: SOURCE={printable(path)} has only {named(parts.values())}; "
            f"leave --split out or give the {missing[0]} folder as SOURCE"
        )
    absent = [name for name in SPLITS if name not in parts]
    if split or not absent:
        return wanted, []
    return wanted, [f"SOURCE has no {absent[0]} images: only {wanted[0]} is written"]


def list_split(root: Path, split: str) -> SplitListing:
    """List one folder of class folders. Raises UserError or DataError as open_source."""
    classes, loose = visible(root)
    images = [name for name in loose if is_candidate(name)]
    if not classes:
        raise UserError(_no_class_folders(root, images))
    if images:
        raise UserError(
            f"{printable(root)} holds {plural(len(images), 'image')} beside its class folders "
            f"({named(images)}); move them into a class folder or out of SOURCE"
        )
    # A network file system answers several calls at once.
    walks = scan(partial(_list_class, root), classes, at_least=_LISTERS)
    if all(walk.is_nest for walk in walks):
        raise UserError(
            f"{printable(root)}: its folders ({named(classes)}) hold several folders each, and no "
            f"images; give the folder above the classes, such as {printable(root / classes[0])}"
        )
    if empty := [name for name, walk in zip(classes, walks, strict=True) if walk.is_empty]:
        raise DataError(
            f"{printable(root)}: {plural(len(empty), 'class folder')} without images: "
            f"{named(empty)}; fill or remove what should not be a class"
        )
    refused = sorted(item for walk in walks for item in walk.refused)
    notices = [f"ignored beside the class folders of {split}: {named(loose)}"] if loose else []
    return SplitListing(
        split=split,
        entries=join([walk.entries for walk in walks]),
        refused={name: size for name, size, _ in refused},
        reasons=[Quarantined(name, reason) for name, _, reason in refused],
        reader=FolderReader(str(root)),
        hidden_files=sum(walk.hidden_files for walk in walks),
        notices=notices,
    )


@dataclass
class _ClassWalk:
    entries: Entries
    refused: list[tuple[str, int, str]] = field(default_factory=list[tuple[str, int, str]])
    hidden_files: int = 0
    is_nest: bool = False
    """Whether it holds several folders and nothing else."""

    @property
    def is_empty(self) -> bool:
        return not len(self.entries) and not self.refused


def _list_class(root: Path, class_name: str) -> _ClassWalk:
    found: list[Entry] = []
    refused: list[tuple[str, int, str]] = []
    hidden_files = 0
    below_root = len(os.path.join(root, ""))
    for item in _walk(os.path.join(root, class_name)):
        if item.name.startswith("."):
            hidden_files += 1
            continue
        name = item.path[below_root:]
        if not item.is_file():
            broken = item.is_symlink()
            refused.append((name, 0, "a link to nothing" if broken else "not a regular file"))
            continue
        size = item.stat().st_size
        if item.name.lower().endswith(IMAGE_SUFFIXES):
            found.append(Entry(class_name, name, size))
        else:
            refused.append((name, size, NOT_AN_IMAGE))
    names = [*(entry.name for entry in found), *(name for name, _, _ in refused)]
    # Looked at again only where nothing lies in the class folder itself.
    is_nest = all(name.count("/") > 1 for name in names) and _holds_folders(root / class_name)
    return _ClassWalk(pack(found, [class_name]), refused, hidden_files, is_nest)


def _holds_folders(folder: Path) -> bool:
    """Whether there are several folders and nothing else."""
    folders, files = visible(folder)
    return len(folders) > 1 and not files


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


def visible(path: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the other things in ``path``, sorted, without hidden ones.

    Raises UserError where it cannot be listed.
    """
    try:
        with os.scandir(path) as items:
            found = sorted((i.name, i.is_dir()) for i in items if not i.name.startswith("."))
    except OSError as error:
        raise UserError(
            f"SOURCE={printable(path)} cannot be listed ({error.strerror}); looked for {LOOKED_FOR}"
        ) from error
    return [n for n, is_dir in found if is_dir], [n for n, is_dir in found if not is_dir]


def _split_folders(path: Path, folders: list[str]) -> dict[str, str]:
    """Split name -> folder where ``folders`` are splits; empty where they are classes."""
    validation = [name for name in VALIDATION_NAMES if name in folders]
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
    return bool(visible(folder)[0])


def _no_class_folders(root: Path, images: list[str]) -> str:
    if not images:
        return f"{printable(root)} has no class folders; looked for {LOOKED_FOR}"
    return (
        f"{printable(root)} holds {plural(len(images), 'image')} ({named(images)}) but no class "
        "folders, so there are no labels; ImageNet's own validation images come flat like this: "
        "give the official archives or the Kaggle tree (with LOC_val_solution.csv) as SOURCE, or "
        "move each image into the folder of its class"
    )
