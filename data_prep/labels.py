"""What a source says twice about its labels, and whether both agree."""

import re
from collections.abc import Sequence

from data_prep.sources import Entry, SplitListing
from data_prep.wording import named, plural
from pipeline.errors import DataError

_WNID_FOLDER = re.compile(r"n\d{8}")
_WNID_PREFIX = re.compile(r"(n\d{8})_")


def misplaced(entries: Sequence[Entry]) -> list[str]:
    """Names of files that carry another synset's id than their class folder."""
    found: list[str] = []
    for entry in entries:
        prefix = _WNID_PREFIX.match(entry.name.rpartition("/")[2])
        if prefix and _WNID_FOLDER.fullmatch(entry.class_name) and prefix[1] != entry.class_name:
            found.append(entry.name)
    return found


def label_warnings(listing: SplitListing, classes: Sequence[str], strict: bool) -> list[str]:
    """What should be known of a split's labels.

    Raises DataError for classes that are not in the class list and, if ``strict``, for files
    whose names contradict their folders.
    """
    if unknown := sorted(set(listing.classes) - set(classes)):
        raise DataError(
            f"{listing.split} has {plural(len(unknown), 'class')} that train lacks: "
            f"{named(unknown)}; labels count in train's classes: add them there or remove them here"
        )
    warnings: list[str] = []
    if absent := sorted(set(classes) - set(listing.classes)):
        warnings.append(
            f"{listing.split} has no images of {plural(len(absent), 'class')}: {named(absent)}"
        )
    if wrong := misplaced(listing.entries):
        said = (
            f"{listing.split}: {plural(len(wrong), 'file')} named after another class than their "
            f"folder: {named(wrong)}"
        )
        if strict:
            raise DataError(f"{said}; move them, or leave out --strict-labels to go by folder")
        warnings.append(said)
    return warnings
