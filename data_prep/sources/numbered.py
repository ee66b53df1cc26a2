"""Sources that give each image a label number: which class is meant."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from data_prep import imagenet1k
from data_prep.wording import named
from pipeline.errors import DataError

MAX_CLASSES = 1_000_000

_WNID_SUFFIX = re.compile(r"_(n\d{8})$")
_WNID_PREFIX = re.compile(r"(n\d{8})_")


@dataclass(frozen=True)
class Numbered:
    """An image as such a source describes it."""

    stem: str
    """File name without suffix, and without the WordNet id that the Hugging Face hub appends."""
    label: int
    wnid: str | None
    """The synset, where the name says it."""


def numbered(path: str, label: int) -> Numbered:
    """``n01440764_10026_n01440764``, ``n01440764/x`` or ``n01440764_10026`` all name a synset."""
    folder, _, stem = path.rpartition("/")
    parent = folder.rpartition("/")[2]
    if suffix := _WNID_SUFFIX.search(stem):
        return Numbered(stem[: suffix.start()], label, suffix[1])
    if imagenet1k.is_wnid(parent):
        return Numbered(stem, label, parent)
    prefix = _WNID_PREFIX.match(stem)
    return Numbered(stem, label, prefix[1] if prefix else None)


@dataclass
class LabelNames:
    """Collects what the images of all splits say about the labels."""

    source: str
    """The file in question, for messages."""
    wnids: dict[int, str] = field(default_factory=dict[int, str])
    _labels: set[int] = field(default_factory=set[int])
    _first: dict[int, str] = field(default_factory=dict[int, str])

    def see(self, image: Numbered) -> None:
        """Raises DataError where a label is negative or means two synsets."""
        if image.label < 0:
            raise DataError(
                f"{self.source}: {image.stem} has the label {image.label}, which means none "
                "(a test split?); leave that file out"
            )
        if image.label >= MAX_CLASSES:
            raise DataError(
                f"{self.source}: {image.stem} has the label {image.label}, and labels count "
                f"classes, of which there are at most {MAX_CLASSES:,}; repair the source"
            )
        self._labels.add(image.label)
        if image.wnid is None:
            return
        known = self.wnids.setdefault(image.label, image.wnid)
        first = self._first.setdefault(image.label, image.stem)
        if known != image.wnid:
            raise DataError(
                f"{self.source}: label {image.label} is {known} for {first} and {image.wnid} for "
                f"{image.stem}; names or labels are wrong: repair the source"
            )

    def resolve(self, declared: Sequence[str] | None, asked: Sequence[str] | None) -> list[str]:
        """Position = label: the class name of every label up to the largest.

        By the names of the images if they are synsets, else by ``asked`` (--classes), else by
        ``declared`` (what the source itself says), else the number. Raises DataError where synsets
        are not in sorted order, or where a list is too short.
        """
        count = max(self._labels, default=-1) + 1
        if self.wnids:
            _refuse_disorder(self.source, self.wnids)
            asked = asked or _imagenet_by_number(self.wnids) or declared
        listed = asked or declared
        if listed is None:
            digits = len(str(max(count - 1, 0)))
            listed = [f"{label:0{digits}d}" for label in range(count)]
        elif len(listed) < count and self._labels - set(self.wnids):
            raise DataError(
                f"{self.source} has labels up to {count - 1}, and the class list {len(listed)} "
                "names; say the right one with --classes"
            )
        padded = [*listed, *([""] * (count - len(listed)))]
        return [self.wnids.get(label, padded[label]) for label in range(len(padded))]


def _refuse_disorder(source: str, wnids: Mapping[int, str]) -> None:
    """Labels of synsets must rise with the names, as everybody numbers them."""
    by_label = [wnids[label] for label in sorted(wnids)]
    if by_label == sorted(by_label) and len(set(by_label)) == len(by_label):
        return
    wrong = [
        f"label {label} is {name}"
        for (label, name), right in zip(sorted(wnids.items()), sorted(by_label), strict=True)
        if name != right
    ]
    raise DataError(
        f"{source}: labels do not follow the sorted WordNet ids ({named(wrong)}); a model trained "
        "elsewhere would read them wrongly: number the source again"
    )


def _imagenet_by_number(wnids: Mapping[int, str]) -> list[str] | None:
    """ImageNet-1k's list, if its numbers are those in use."""
    every = imagenet1k.wnids()
    fits = all(label < len(every) and every[label] == name for label, name in wnids.items())
    return list(every) if fits else None


def class_names(labels: LabelNames, names: Sequence[str], used: Iterable[int]) -> list[str]:
    """The classes that count: synsets by rank among those in use, others as they are numbered."""
    return sorted({names[label] for label in used}) if labels.wnids else list(names)
