"""Kaggle's "ImageNet Object Localization Challenge": class folders for train, a flat val.

``LOC_val_solution.csv`` says the class of each validation image, ``LOC_synset_mapping.txt``
which classes there are.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from data_prep.sources import Entry, Source, SplitListing
from data_prep.sources.entries import join, pack
from data_prep.sources.imagefolder import list_split, visible, wanted_splits
from data_prep.sources.readers import NOT_AN_IMAGE, FolderReader, is_candidate, readable
from data_prep.wording import named, plural, printable
from pipeline.errors import DataError, UserError
from pipeline.shards import Quarantined

LAYOUT = "kaggle"
IMAGES = Path("ILSVRC/Data/CLS-LOC")
SOLUTION = "LOC_val_solution.csv"
MAPPING = "LOC_synset_mapping.txt"
LOOKED_FOR = f"{IMAGES} with {SOLUTION} and {MAPPING}"

_PARTS = {"train": "train", "validation": "val"}


def finds(path: Path) -> bool:
    """Whether the tree, or its image folder with a flat val, is there."""
    return _root(path) is not None


def _root(path: Path) -> Path | None:
    """The folder that holds ILSVRC: the path, or one above it if the path is inside."""
    if (path / IMAGES).is_dir():
        return path
    resolved = path.resolve()
    for root in resolved.parents:
        below = resolved.relative_to(root)
        if below.parts and (root / IMAGES).is_dir() and (root / MAPPING).is_file():
            return root if IMAGES.is_relative_to(below) else None
    return None


def open_source(path: Path, split: str | None, classes: Sequence[str] | None = None) -> Source:
    """List the tree. Raises UserError for what is missing, DataError for what contradicts."""
    root = _root(path)
    if root is None:
        raise UserError(f"SOURCE={printable(path)} has no {IMAGES}; looked for {LOOKED_FOR}")
    images = root / IMAGES
    parts = {split: name for split, name in _PARTS.items() if (images / name).is_dir()}
    if not parts:
        raise UserError(f"{printable(images)} has neither train nor val; unpack the zip whole")
    wanted, notices = wanted_splits(path, parts, split)
    known = _mapping(root / MAPPING)
    listings: list[SplitListing] = []
    if "train" in wanted:
        listings.append(list_split(images / "train", "train"))
    if "validation" in wanted:
        has_classes = bool(visible(images / "val")[0])  # some scripts sort the images into folders
        listings.append(
            list_split(images / "val", "validation")
            if has_classes
            else _validation(images / "val", root / SOLUTION)
        )
    for listing in listings:
        if unknown := sorted(set(listing.classes) - known):
            raise DataError(
                f"{listing.split} has {plural(len(unknown), 'class')} that {MAPPING} lacks: "
                f"{named(unknown)}; unpack the zip again"
            )
    return Source(
        layout=LAYOUT,
        path=path,
        classes=visible(images / "train")[0] if "train" in parts else listings[0].classes,
        listings=listings,
        notices=notices,
        is_whole_imagenet=True,
    )


def _mapping(path: Path) -> set[str]:
    if not path.is_file():
        raise UserError(f"{printable(path)} is missing; it comes with the zip: put it there")
    with readable(str(path)):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {line.split()[0] for line in lines if line.strip()}


def _validation(folder: Path, solution: Path) -> SplitListing:
    wnid_of = _solution(solution)
    found: list[Entry] = []
    refused: list[tuple[str, int]] = []
    unlabelled: list[str] = []
    with readable(str(folder)), os.scandir(folder) as items:
        for item in items:
            if item.name.startswith(".") or not item.is_file():
                continue
            size = item.stat().st_size
            wnid = wnid_of.get(item.name.rpartition(".")[0])
            if not is_candidate(item.name):
                refused.append((item.name, size))
            elif wnid is None:
                unlabelled.append(item.name)
            else:
                found.append(Entry(wnid, f"{wnid}/{item.name}", size))
    if unlabelled or not found:
        what = (
            f"{plural(len(unlabelled), 'image')} that {SOLUTION} does not label: "
            f"{named(sorted(unlabelled))}"
            if unlabelled
            else "no images"
        )
        raise DataError(f"{printable(folder)} holds {what}; unpack the zip again")
    refused.sort()
    return SplitListing(
        "validation",
        join([pack(found)]),
        FolderReader(str(folder), is_flat=True),
        refused=dict(refused),
        reasons=[Quarantined(name, NOT_AN_IMAGE) for name, _ in refused],
    )


def _solution(path: Path) -> dict[str, str]:
    """Image id -> wnid: the first word of its first box."""
    if not path.is_file():
        raise UserError(
            f"{printable(path)} is missing, and the images of val/ have no labels of their own; it "
            "comes with the zip: put it there, or shard with --split train"
        )
    with readable(str(path)), path.open(newline="", encoding="utf-8") as file:
        try:
            rows = list(csv.DictReader(file))
            return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
        except (KeyError, IndexError, AttributeError, csv.Error, UnicodeDecodeError) as error:
            raise DataError(
                f"{printable(path)} is not Kaggle's: expected the columns ImageId and "
                f"PredictionString ({error!r}); unpack the zip again"
            ) from error
