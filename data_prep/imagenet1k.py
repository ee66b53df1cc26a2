"""What is known of ImageNet-1k (ILSVRC2012, classification), and whether a source agrees.

The class names stand in ``imagenet1k_wnids.txt``, in label order, as in timm's
``imagenet_synsets.txt``; the counts are those of Russakovsky et al., "ImageNet Large Scale Visual
Recognition Challenge", arXiv 1409.0575, Table 2.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from data_prep.sources import Source, SplitListing
from data_prep.wording import named, plural
from pipeline.errors import DataError

NAME = "imagenet1k"
IMAGES = {"train": 1_281_167, "validation": 50_000}
IMAGES_PER_CLASS = {"train": range(732, 1301), "validation": range(50, 51)}

_WNID = re.compile(r"n\d{8}")


@functools.cache
def wnids() -> tuple[str, ...]:
    """The 1,000 class names, sorted: position = label."""
    text = Path(__file__).with_name("imagenet1k_wnids.txt").read_text(encoding="ascii")
    return tuple(text.split())


def is_wnid(name: str) -> bool:
    """Whether a class name is a WordNet id such as ``n01440764``."""
    return _WNID.fullmatch(name) is not None


def is_subset(classes: Sequence[str]) -> bool:
    """Whether all classes are ImageNet-1k's."""
    return bool(classes) and set(classes) <= set(wnids())


def check(source: Source, allow_partial: bool) -> list[str]:
    """Compare class names and counts with the known ones, if the source is ImageNet-1k.

    Returns the differences where ``allow_partial``. Raises DataError for them otherwise: a list of
    classes that is off by one shifts every label behind it, and nothing else would tell.
    """
    found = [] if source.is_whole_imagenet else _strangers(source.classes)
    if source.is_whole_imagenet or set(source.classes) == set(wnids()):
        found += [text for listing in source.listings for text in _differences(listing)]
    if found and not allow_partial:
        raise DataError(
            f"SOURCE is not the whole of ImageNet-1k: {'; '.join(found)}; complete it, or say "
            "--allow-partial if it is meant to be so"
        )
    return [f"not the whole of ImageNet-1k: {text}" for text in found]


def _strangers(classes: Sequence[str]) -> list[str]:
    """Classes that are not ImageNet-1k's, where most are (other data sets have WordNet ids too)."""
    if not classes or not all(is_wnid(name) for name in classes):
        return []
    strange = sorted(set(classes) - set(wnids()))
    if not strange or len(strange) >= len(classes) - len(strange):
        return []
    return [f"{plural(len(strange), 'class')} that it does not have: {named(strange)}"]


def _differences(listing: SplitListing) -> list[str]:
    split, counts = listing.split, listing.entries.class_counts
    said: list[str] = []
    if strange := sorted(set(counts) - set(wnids())):
        said.append(
            f"{split} has {plural(len(strange), 'class')} that it does not have: {named(strange)}"
        )
    if absent := [name for name in wnids() if not counts.get(name)]:
        said.append(f"{split} lacks {plural(len(absent), 'class')}: {named(absent)}")
    expected = IMAGES_PER_CLASS[split]
    odd = [f"{name} {n:,}" for name, n in counts.items() if n and n not in expected]
    if odd:
        each = " to ".join(f"{n:,}" for n in sorted({expected[0], expected[-1]}))
        said.append(
            f"{split} has {each} images per class, but not in {plural(len(odd), 'class')}: "
            f"{named(odd)}"
        )
    if len(listing.entries) != IMAGES[split]:
        said.append(f"{split} has {len(listing.entries):,} images instead of {IMAGES[split]:,}")
    return said
