"""Answers to tables: each class, and which classes are taken for which. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassScores:
    """One class; percent of its images."""

    name: str
    images: int
    top1: float | None
    """None where the split has no image of it."""
    top5: float | None
    confused_with: str | None
    """The class that most of its images are taken for, if any is."""
    confused_images: int
    """How many of them."""


@dataclass(frozen=True)
class Confusion:
    """Images of one class that are taken for another."""

    label: str
    answer: str
    images: int


@dataclass(frozen=True)
class RealScores:
    """Against ReaL labels; percent of the images that have any."""

    top1: float
    top5: float
    images: int


def class_scores(
    labels: NDArray[np.int64], top: NDArray[np.int64], names: Sequence[str]
) -> list[ClassScores]:
    """One entry per class, in the order of the labels. labels: (N,); top: (N, 5) or fewer."""
    counts = _counts(labels, top, len(names))
    images = counts.sum(axis=1)
    in_top5 = np.bincount(labels, (top == labels[:, None]).any(axis=1), minlength=len(names))
    wrong = counts * (1 - np.eye(len(names), dtype=np.int64))
    rows: list[ClassScores] = []
    for label, name in enumerate(names):
        count, other = int(images[label]), int(wrong[label].argmax())
        confused = int(wrong[label, other])
        rows.append(
            ClassScores(
                name,
                count,
                100 * int(counts[label, label]) / count if count else None,
                100 * float(in_top5[label]) / count if count else None,
                names[other] if confused else None,
                confused,
            )
        )
    return rows


def worst_first(rows: Sequence[ClassScores]) -> list[ClassScores]:
    """By top-1; classes without images are left out."""
    return sorted(
        (row for row in rows if row.top1 is not None), key=lambda row: (row.top1, row.top5)
    )


def confusions(
    labels: NDArray[np.int64], top: NDArray[np.int64], names: Sequence[str]
) -> list[Confusion]:
    """Every pair that occurs, the most frequent first."""
    counts = _counts(labels, top, len(names))
    np.fill_diagonal(counts, 0)
    wrong, answers = np.nonzero(counts)
    found = [
        Confusion(names[label], names[answer], int(counts[label, answer]))
        for label, answer in zip(wrong.tolist(), answers.tolist(), strict=True)
    ]
    return sorted(found, key=lambda pair: -pair.images)


def real_scores(
    stems: Sequence[str], top: NDArray[np.int64], real: Mapping[str, Sequence[int]]
) -> RealScores | None:
    """Right is every class that ReaL gives the image; None where it knows not all the images.

    stems: (N,) original names without folder and suffix.
    """
    if not all(stem in real for stem in stems):
        return None
    hits = np.array(
        [
            np.isin(answers, real[stem])
            for stem, answers in zip(stems, top, strict=True)
            if real[stem]
        ]
    )
    if not len(hits):
        return None
    return RealScores(100 * hits[:, 0].mean(), 100 * hits.any(axis=1).mean(), len(hits))


def _counts(labels: NDArray[np.int64], top: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(classes, classes) images by label and answer."""
    flat = np.bincount(labels * classes + top[:, 0], minlength=classes * classes)
    return flat.reshape(classes, classes)
