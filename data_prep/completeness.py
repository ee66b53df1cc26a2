"""Whether a source that is ImageNet-1k is the whole of it."""

from collections.abc import Sequence

from data_prep import imagenet1k
from data_prep.sources import Source, SplitListing
from data_prep.wording import named, plural
from pipeline.errors import DataError

_MEANT_TO_BE_WHOLE = 900
"""With more of its classes a source is no subset that somebody chose."""


def imagenet_differences(source: Source, allow_partial: bool) -> list[str]:
    """Compare class names and counts with the known ones, if the source is ImageNet-1k.

    Returns the differences where ``allow_partial``. Raises DataError for them otherwise: a list of
    classes that is off by one shifts every label behind it, and nothing else would tell.
    """
    strange = set(source.classes) - set(imagenet1k.wnids())
    known = len(set(source.classes) - strange)
    if source.is_whole_imagenet or known > max(_MEANT_TO_BE_WHOLE, len(strange)):
        found = [text for listing in source.listings for text in _differences(listing)]
    else:
        found = _strangers(source.classes)
    if found and not allow_partial:
        raise DataError(
            f"SOURCE is not the whole of ImageNet-1k: {'; '.join(found)}; complete it, or say "
            "--allow-partial if it is meant to be so"
        )
    return [f"not the whole of ImageNet-1k: {text}" for text in found]


def _strangers(classes: Sequence[str]) -> list[str]:
    """Classes that are not ImageNet-1k's, where most are (other data sets have WordNet ids too)."""
    if not classes or not all(imagenet1k.is_wnid(name) for name in classes):
        return []
    strange = sorted(set(classes) - set(imagenet1k.wnids()))
    if not strange or len(strange) >= len(classes) - len(strange):
        return []
    return [f"{plural(len(strange), 'class')} that it does not have: {named(strange)}"]


def _differences(listing: SplitListing) -> list[str]:
    split, counts = listing.split, listing.entries.class_counts
    said: list[str] = []
    if strange := sorted(set(counts) - set(imagenet1k.wnids())):
        said.append(
            f"{split} has {plural(len(strange), 'class')} that it does not have: {named(strange)}"
        )
    if absent := [name for name in imagenet1k.wnids() if not counts.get(name)]:
        said.append(f"{split} lacks {plural(len(absent), 'class')}: {named(absent)}")
    expected = imagenet1k.IMAGES_PER_CLASS[split]
    odd = [f"{name} {n:,}" for name, n in counts.items() if n and n not in expected]
    if odd:
        each = " to ".join(f"{n:,}" for n in sorted({expected[0], expected[-1]}))
        said.append(
            f"{split} has {each} images per class, but not in {plural(len(odd), 'class')}: "
            f"{named(odd)}"
        )
    if len(listing.entries) != imagenet1k.IMAGES[split]:
        said.append(
            f"{split} has {len(listing.entries):,} images instead of {imagenet1k.IMAGES[split]:,}"
        )
    return said
