"""Answers to tables, by hand."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate import evaluation
from pipeline.evaluate.report import class_scores, confusions, real_scores, worst_first
from pipeline.models.imagenet import ImageNetInfo, real_labels

NAMES = ["cat", "dog", "owl", "yak"]
LABELS = np.array([0, 0, 0, 1, 1, 2])
TOP = np.array([[0, 1], [1, 0], [1, 2], [1, 0], [0, 1], [2, 0]])


def test_each_class_is_counted() -> None:
    cat, dog, owl, yak = class_scores(LABELS, TOP, NAMES)
    assert (cat.images, cat.top1, cat.top5) == (3, pytest.approx(100 / 3), pytest.approx(200 / 3))
    assert (cat.confused_with, cat.confused_images) == ("dog", 2)
    assert (dog.top1, dog.top5, dog.confused_with, dog.confused_images) == (50, 100, "cat", 1)
    assert (owl.top1, owl.confused_with, owl.confused_images) == (100, None, 0)
    assert (yak.images, yak.top1, yak.top5, yak.confused_with) == (0, None, None, None)


def test_the_worst_come_first_and_empty_classes_not_at_all() -> None:
    rows = worst_first(class_scores(LABELS, TOP, NAMES))
    assert [row.name for row in rows] == ["cat", "dog", "owl"]


def test_confusions_go_by_their_number() -> None:
    pairs = confusions(LABELS, TOP, NAMES)
    assert [(p.label, p.answer, p.images) for p in pairs] == [("cat", "dog", 2), ("dog", "cat", 1)]


@given(st.data())
def test_the_tables_are_those_of_all_classes_by_all(data: st.DataObject) -> None:
    classes = data.draw(st.integers(1, 5))
    images = data.draw(st.integers(1, 40))
    names = [f"class {label}" for label in range(classes)]
    answers = st.lists(st.integers(0, classes - 1), min_size=images, max_size=images)
    labels = np.array(data.draw(answers))
    top = np.array([data.draw(answers), data.draw(answers)]).T
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, top[:, 0]), 1)
    wrong = counts * (1 - np.eye(classes, dtype=np.int64))
    for label, row in enumerate(class_scores(labels, top, names)):
        total, other = counts[label].sum(), wrong[label].argmax()
        assert (row.images, row.confused_images) == (total, wrong[label, other])
        assert row.top1 == (100 * counts[label, label] / total if total else None)
        assert row.confused_with == (names[other] if wrong[label, other] else None)
    pairs = sorted(np.argwhere(wrong).tolist(), key=lambda pair: -wrong[tuple(pair)])
    expected = [(names[a], names[b], wrong[a, b]) for a, b in pairs]
    assert [(p.label, p.answer, p.images) for p in confusions(labels, top, names)] == expected


def test_many_classes_take_the_memory_of_the_images_alone() -> None:
    names = [f"class {label}" for label in range(21_843)]
    labels = np.array([21_842, 21_842, 0])
    top = np.array([[21_842], [3], [21_842]])
    tracemalloc.start()
    try:
        assert class_scores(labels, top, names)[-1].confused_with == "class 3"
        assert len(confusions(labels, top, names)) == 2
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 50e6


def test_real_labels_count_images_that_have_any() -> None:
    real = {"a": [1, 2], "b": [], "c": [0]}
    scores = real_scores(["a", "b", "c"], np.array([[2, 3], [0, 1], [1, 0]]), real)
    assert scores is not None
    assert (scores.top1, scores.top5, scores.images) == (50, 100, 2)
    assert real_scores(["a", "x"], TOP[:2], real) is None


def test_real_labels_belong_to_imagenets_own_images_only() -> None:
    classes = ImageNetInfo("imagenet-1k").label_names()
    stems = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 301)]
    real = real_labels()
    assert len(real) == 50_000
    # Every answer is one of the image's own, so all are right, whatever the original label was.
    top = np.array([(real[stem] or [0])[:1] for stem in stems])

    def split(names: list[str], classes: list[str]) -> SimpleNamespace:
        class Split(SimpleNamespace):
            def __len__(self) -> int:
                return len(names)

        return Split(classes=classes, name=lambda sample: (names[sample], f"{names[sample]}.JPEG"))

    scores = evaluation._real(split(stems, classes), top)
    with_labels = sum(bool(real[stem]) for stem in stems)
    assert scores is not None
    assert (scores.top1, scores.images) == (100, with_labels) and with_labels < 300
    wrong = evaluation._real(split(stems, classes), (top + 500) % 1000)
    assert wrong is not None and wrong.top1 < 5
    assert evaluation._real(split(stems, classes[::-1]), top) is None
    assert evaluation._real(split([f"photo{n}" for n in range(300)], classes), top) is None
