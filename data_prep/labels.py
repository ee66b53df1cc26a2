"""Which number a class gets, and whether what a source says twice about its labels agrees."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_prep import imagenet1k
from data_prep.sources import Source, SplitListing
from data_prep.sources.entries import Entries
from data_prep.wording import named, plural, printable
from pipeline.errors import DataError, UserError

MISPLACED = "named after another class than their folder"
"""In a warning: labels go by folder, though names contradict it."""

_WNID_PREFIX = re.compile(r"(n\d{8})_")


def class_list(said: str) -> list[str]:
    """The classes of ``--classes``: imagenet1k, or a file with a name per line, in label order.

    Of lines such as ``n01440764 tench, Tinca tinca`` only the WordNet id counts. Raises UserError.
    """
    if said == imagenet1k.NAME:
        return list(imagenet1k.wnids())
    try:
        lines = Path(said).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        near = difflib.get_close_matches(said, [imagenet1k.NAME], 1)
        reason = f"did you mean {near[0]}?" if near else _reason(error)
        raise UserError(
            f"--classes {printable(said)} cannot be read ({reason}); name a text file with one "
            f"class per line, in label order, or {imagenet1k.NAME}"
        ) from None
    names = [_class_of_line(line) for line in lines if line.strip()]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice or not names:
        problem = f"names {named(twice)} twice" if twice else "names no class"
        raise UserError(f"--classes {printable(said)} {problem}; list every class once")
    return names


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror if isinstance(error, OSError) else error.reason)


def _class_of_line(line: str) -> str:
    first = line.split()[0]
    return first if imagenet1k.is_wnid(first) else line.strip()


def label_scheme(source: Source, classes: Sequence[str], asked: bool) -> list[str]:
    """What should be said of the numbers that a subset of ImageNet-1k gets."""
    present = {name for listing in source.listings for name in listing.classes}
    if imagenet1k.is_all(classes):
        if present < set(classes) and asked:
            return [
                f"labels are those of ImageNet-1k, 0 to 999, of whose classes {len(present)} are "
                "present"
            ]
        return []
    if imagenet1k.is_subset(classes) and not asked:
        return [
            f"labels are the rank among the {plural(len(classes), 'class')} of SOURCE, 0 to "
            f"{len(classes) - 1}, not among ImageNet-1k's 1,000; --classes {imagenet1k.NAME} "
            "counts in those"
        ]
    return []


def _with_guess(unknown: Sequence[str], classes: Sequence[str]) -> str:
    """The names, and for a single one what it may have been meant to be."""
    near = difflib.get_close_matches(unknown[0], classes, 1) if len(unknown) == 1 else []
    return named(unknown) + (f" (did you mean {printable(near[0])}?)" if near else "")


def misplaced(entries: Entries) -> list[str]:
    """Names of files that carry another synset's id than their class folder."""
    return [
        name
        for class_name, name in entries.each_name()
        if (prefix := _WNID_PREFIX.match(name.rpartition("/")[2]))
        and prefix[1] != class_name
        and imagenet1k.is_wnid(class_name)
    ]


def label_warnings(
    listing: SplitListing, classes: Sequence[str], strict: bool, asked: bool = False
) -> list[str]:
    """What should be known of a split's labels; ``asked``: whether ``--classes`` says the classes.

    Raises DataError for classes that are not in the class list and, if ``strict``, for files
    whose names contradict their folders.
    """
    if unknown := sorted(set(listing.classes) - set(classes)):
        whose, remedy = (
            ("--classes lacks", "add them there")
            if asked
            else ("train lacks", "labels count in train's classes: add them there")
        )
        raise DataError(
            f"{listing.split} has {plural(len(unknown), 'class')} that {whose}: "
            f"{_with_guess(unknown, classes)}; {remedy} or remove the images here"
        )
    warnings: list[str] = []
    absent = sorted(set(classes) - set(listing.classes))
    if absent and not (asked and imagenet1k.is_all(classes)):
        warnings.append(
            f"{listing.split} has no images of {plural(len(absent), 'class')}: {named(absent)}"
        )
    if wrong := misplaced(listing.entries):
        said = f"{listing.split}: {plural(len(wrong), 'file')} {MISPLACED}: {named(wrong)}"
        if strict:
            raise DataError(f"{said}; move them, or leave out --strict-labels to go by folder")
        warnings.append(said)
    return warnings
