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
    images = np.bincount(labels, minlength=len(names))
    right = np.bincount(labels[top[:, 0] == labels], minlength=len(names))
    in_top5 = np.bincount(labels, (top == labels[:, None]).any(axis=1), minlength=len(names))
    # Of a label's pairs the most frequent one; of equals the one of the lowest answer.
    pairs, pair_images = _wrong_pairs(labels, top)
    order = np.lexsort((pairs[:, 1], -pair_images, pairs[:, 0]))
    wrong, firsts = np.unique(pairs[order, 0], return_index=True)
    worst = dict(zip(wrong.tolist(), order[firsts].tolist(), strict=True))
    rows: list[ClassScores] = []
    for label, name in enumerate(names):
        count, pair = int(images[label]), worst.get(label)
        rows.append(
            ClassScores(
                name,
                count,
                100 * int(right[label]) / count if count else None,
                100 * float(in_top5[label]) / count if count else None,
                None if pair is None else names[int(pairs[pair, 1])],
                0 if pair is None else int(pair_images[pair]),
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
    pairs, images = _wrong_pairs(labels, top)
    found = [
        Confusion(names[int(label)], names[int(answer)], int(count))
        for (label, answer), count in zip(pairs, images, strict=True)
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


def _wrong_pairs(
    labels: NDArray[np.int64], top: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(P, 2) label and answer of each wrong pair that occurs, in ascending order; (P,) images.

    At most N of them, where a table of all classes by all would be of gigabytes.
    """
    answers = top[:, 0]
    wrong = np.stack([labels, answers], axis=1)[answers != labels]
    return np.unique(wrong, axis=0, return_counts=True)
