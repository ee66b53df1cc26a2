"""The archives that image-net.org hands out, read in place.

``ILSVRC2012_img_train.tar`` holds a tar per class, ``ILSVRC2012_img_val.tar`` the images alone.
Line N of the devkit's ground truth is the ILSVRC2012_ID of validation image N; ``meta.mat`` says
which synset has that id. The ids are not in label order: labels are ranks of the sorted wnids.
"""

import io
import os
import re
import shlex
import tarfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from data_prep.imagenet1k import is_wnid
from data_prep.sources import Entry, Source, SplitListing
from data_prep.sources.entries import Entries, join, pack
from data_prep.sources.imagefolder import wanted_splits
from data_prep.sources.readers import NOT_AN_IMAGE, RangeReader, is_candidate, readable
from data_prep.sources.scan import scan
from data_prep.wording import named, plural, printable
from pipeline.errors import DataError, UserError
from pipeline.shards import Quarantined

LAYOUT = "archives"
TRAIN = "ILSVRC2012_img_train.tar"
VALIDATION = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
OTHER_TASK = "ILSVRC2012_img_train_t3.tar"
LOOKED_FOR = f"{TRAIN}, {VALIDATION} with {DEVKIT}"

_PARTS = {"train": TRAIN, "validation": VALIDATION}
_META = "meta.mat"
_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


def finds(path: Path) -> bool:
    """Whether the archives, or the one of another task, are in a folder, or are the path."""
    names = {TRAIN, VALIDATION, OTHER_TASK}
    return path.name in names if path.is_file() else any((path / n).is_file() for n in names)


def open_source(path: Path, split: str | None, classes: Sequence[str] | None = None) -> Source:
    """List the archives in a folder, or one of them.

    Raises UserError for what is missing, DataError for archives that are not what they should be.
    """
    folder = path.parent if path.is_file() else path
    names = [path.name] if path.is_file() else os.listdir(folder)
    parts = {split: name for split, name in _PARTS.items() if name in names}
    if not parts:
        raise UserError(
            f"SOURCE={printable(path)} has {OTHER_TASK}, the dogs of task 3 (fine-grained "
            f"classification), not the 1,000 classes; give {TRAIN}"
            if OTHER_TASK in names
            else f"SOURCE={printable(path)} has none of {LOOKED_FOR}; name their folder"
        )
    wanted, notices = wanted_splits(path, parts, split)
    if OTHER_TASK in names:
        notices.append(f"ignored {OTHER_TASK}: it belongs to another task")
    listings: list[SplitListing] = []
    class_tars = _class_tars(folder / TRAIN) if "train" in parts else {}
    if "train" in wanted:
        listings.append(_train(folder / TRAIN, class_tars))
    if "validation" in wanted:
        listings.append(_validation(folder / VALIDATION, folder / DEVKIT))
    return Source(
        layout=LAYOUT,
        path=path,
        classes=sorted(class_tars) or listings[0].classes,
        listings=listings,
        notices=notices,
        is_whole_imagenet=True,
    )


def members(path: Path, start: int = 0) -> Iterator[tuple[str, int, int]]:
    """Name, first byte and size of the files of a tar that begins at byte ``start`` of a file.

    Only headers are read. Raises DataError where it is no tar or ends too early.
    """
    with readable(str(path)), path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        if file.read(2) == b"\x1f\x8b":
            raise DataError(
                f"{printable(path)} is compressed, and images are read in place; decompress it: "
                f"gunzip {shlex.quote(str(path))}"
            )
        file.seek(start)
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    if member.isreg():
                        if member.offset_data + member.size > length:
                            raise tarfile.ReadError("unexpected end of data")
                        yield member.name.removeprefix("./"), member.offset_data, member.size
                    archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
        except tarfile.TarError as error:
            raise DataError(
                f"{printable(path)} is not a whole tar archive ({error}); download it again"
            ) from error


def _class_tars(path: Path) -> dict[str, int]:
    """Class name -> where its tar starts."""
    found = {name.rpartition("/")[2]: offset for name, offset, _ in members(path)}
    wrong = [n for n in found if not (n.endswith(".tar") and is_wnid(n.removesuffix(".tar")))]
    if wrong or not found:
        what = f"holds {named(wrong)}" if found else "is empty"
        raise DataError(
            f"{printable(path)} {what}, and should hold one tar per class, n01440764.tar and so "
            "on; download it again, or give the folder of what it is as SOURCE"
        )
    return {name.removesuffix(".tar"): offset for name, offset in found.items()}


def _train(path: Path, class_tars: dict[str, int]) -> SplitListing:
    walks = scan(partial(_list_class, path), list(class_tars.items()))
    if empty := [name for name, (e, _) in zip(class_tars, walks, strict=True) if not len(e)]:
        raise DataError(
            f"{printable(path)}: {plural(len(empty), 'class tar')} without images: {named(empty)}; "
            "download it again"
        )
    refused = [item for _, others in walks for item in others]
    return _listing("train", path, join([entries for entries, _ in walks]), refused)


def _list_class(path: Path, class_tar: tuple[str, int]) -> tuple[Entries, list[tuple[str, int]]]:
    name, start = class_tar
    found: list[Entry] = []
    others: list[tuple[str, int]] = []
    for member, offset, size in members(path, start):
        if is_candidate(member):
            found.append(Entry(name, f"{name}/{member}", size, 0, offset))
        else:
            others.append((f"{name}/{member}", size))
    return pack(found, [name]), others


def _validation(path: Path, devkit: Path) -> SplitListing:
    truth = _ground_truth(devkit)
    found: list[Entry] = []
    others: list[tuple[str, int]] = []
    for member, offset, size in members(path):
        name = member.rpartition("/")[2]
        if not is_candidate(name):
            others.append((name, size))
            continue
        number = _VALIDATION_NAME.fullmatch(name)
        if number is None or not 1 <= int(number[1]) <= len(truth):
            raise DataError(
                f"{printable(path)} holds {printable(member)}, and {DEVKIT} labels "
                f"ILSVRC2012_val_00000001.JPEG to {len(truth):08d}; both must be of ILSVRC2012"
            )
        wnid = truth[int(number[1]) - 1]
        found.append(Entry(wnid, f"{wnid}/{name}", size, 0, offset))
    if not found:
        raise DataError(f"{printable(path)} holds no images; download it again")
    return _listing("validation", path, join([pack(found)]), others)


def _listing(
    split: str, path: Path, entries: Entries, refused: list[tuple[str, int]]
) -> SplitListing:
    refused.sort()
    return SplitListing(
        split,
        entries,
        RangeReader([str(path)]),
        refused=dict(refused),
        reasons=[Quarantined(name, NOT_AN_IMAGE) for name, _ in refused],
    )


def _ground_truth(devkit: Path) -> list[str]:
    """Position n: the wnid of validation image n + 1."""
    if not devkit.is_file():
        raise UserError(
            f"{VALIDATION} has no labels of its own: put {DEVKIT} beside it, in "
            f"{printable(devkit.parent)}; or shard with --split train"
        )
    texts: dict[str, bytes] = {}
    with readable(str(devkit)):
        try:
            with tarfile.open(devkit, "r:gz") as archive:
                for member in archive:
                    name = member.name.rpartition("/")[2]
                    if name in (_META, _GROUND_TRUTH) and (file := archive.extractfile(member)):
                        texts[name] = file.read()
        except (tarfile.TarError, EOFError) as error:
            raise _bad_devkit(devkit, str(error)) from error
    if absent := [name for name in (_META, _GROUND_TRUTH) if name not in texts]:
        raise _bad_devkit(devkit, f"{absent[0]} is not in it")
    wnid_of = _synsets(devkit, io.BytesIO(texts[_META]))
    ids = texts[_GROUND_TRUTH].decode("ascii", "replace").split()
    unknown = sorted({text for text in ids if not text.isdigit() or int(text) not in wnid_of})
    if unknown:
        raise _bad_devkit(devkit, f"{_GROUND_TRUTH} has ids that {_META} lacks: {named(unknown)}")
    return [wnid_of[int(text)] for text in ids]


def _synsets(devkit: Path, meta: BinaryIO) -> dict[int, str]:
    """ILSVRC2012_ID -> wnid, from MATLAB's struct array."""
    # SciPy takes half a second to import.
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        synsets: Any = loadmat(meta, squeeze_me=True)["synsets"]
        rows = [(int(row["ILSVRC2012_ID"]), str(row["WNID"])) for row in synsets.reshape(-1)]
    except (MatReadError, ValueError, KeyError, TypeError, IndexError) as error:
        raise _bad_devkit(devkit, f"{_META}: {error!r}") from error
    return dict(rows)


def _bad_devkit(devkit: Path, why: str) -> DataError:
    return DataError(f"{printable(devkit)} is damaged ({why}); download it again")
