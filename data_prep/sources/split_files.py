"""Which split a data file belongs to, by its name or its folder's."""

import re
from collections.abc import Sequence
from pathlib import Path

from data_prep.sources import VALIDATION_NAMES
from data_prep.sources.imagefolder import visible
from data_prep.wording import named, printable
from pipeline.errors import UserError

_PART = re.compile(r"(.*)-(\d{1,5})-of-(\d{1,5})(\.[a-z]+)")
_WORD = re.compile(rf"(?<![a-z])(train|{'|'.join(VALIDATION_NAMES)}|test)(?![a-z])")


def split_of(name: str) -> str | None:
    """``train``, ``validation`` or ``test``; None where the name says nothing."""
    found = _WORD.findall(name.lower())
    if not found:
        return None
    return "validation" if found[-1] in VALIDATION_NAMES else found[-1]


def files_below(path: Path, suffix: str) -> list[Path]:
    """The path itself, or the visible files of that suffix in it and in its folders of splits.

    Other folders are not looked into: they may be classes with a million files.
    """
    if not path.is_dir():
        return [path] if path.name.endswith(suffix) and path.is_file() else []
    folders, files = visible(path)
    inner = [name for name in folders if name == "data" or split_of(name)]
    found = [path / name for name in files if name.endswith(suffix)]
    return sorted([*found, *(file for name in inner for file in files_below(path / name, suffix))])


def _missing_parts(files: Sequence[Path]) -> list[str]:
    """Names that ``train-00000-of-00003.parquet`` and its like say there should be."""
    names = {file.name for file in files}
    missing: set[str] = set()
    for name in names:
        if found := _PART.fullmatch(name):
            head, number, count, tail = found.groups()
            every = (f"{head}-{i:0{len(number)}d}-of-{count}{tail}" for i in range(int(count)))
            missing |= set(every) - names
    return sorted(missing)


def by_split(
    path: Path, files: Sequence[Path], split: str | None
) -> tuple[dict[str, list[Path]], list[str]]:
    """Split -> its files, and what should be said. Raises UserError where that is not clear."""
    base = path if path.is_dir() else path.parent
    parts: dict[str | None, list[Path]] = {}
    for file in files:
        parts.setdefault(split_of(str(file.relative_to(base))), []).append(file)
    notices: list[str] = []
    if test := parts.pop("test", []):
        notices.append(f"ignored {named([f.name for f in test])}: a test split has no labels")
    if missing := _missing_parts(files):
        notices.append(f"SOURCE lacks {named(missing)}, by the names of the others")
    unnamed = parts.pop(None, [])
    if unnamed and parts:
        raise UserError(
            f"SOURCE={printable(path)}: {named([f.name for f in unnamed])} could be of any split; "
            "put train or validation into the names of all files, or move it away"
        )
    if unnamed:
        parts = {split or "train": unnamed}
        notices.append(f"no file name says train or validation: taken as {split or 'train'}")
    return {name: files for name, files in parts.items() if name}, notices
