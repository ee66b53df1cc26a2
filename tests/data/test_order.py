"""The order of samples: a pure function of seed and epoch that no world can touch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from pipeline.config.schema import Config
from pipeline.data.order import Order, epoch_order, make_order
from pipeline.plan import make_plan

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=12).map(tuple)


@given(
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 400),
    shards=lengths,
    window=st.sampled_from([None, 1, 3, 99]),
)
def test_every_id_once_an_epoch(
    seed: int, epoch: int, shards: tuple[int, ...], window: int | None
) -> None:
    order = Order(seed, shards, global_batch=4, micro_batch=2, window=window)
    assert sorted(epoch_order(order, epoch)) == list(range(sum(shards)))


@pytest.mark.parametrize("window", [None, 2])
def test_epochs_and_seeds_differ(window: int | None) -> None:
    def ids(seed: int, epoch: int) -> list[int]:
        return epoch_order(Order(seed, (50, 50, 50, 50), 4, 2, window), epoch).tolist()

    orders = [ids(1, 0), ids(1, 1), ids(2, 0), list(range(200))]
    assert all(a != b for i, a in enumerate(orders) for b in orders[i + 1 :])
    assert ids(1, 0) == orders[0]


def test_the_order_is_pinned() -> None:
    """A change here changes every training: it must be deliberate."""
    assert epoch_order(Order(42, (6, 6), 4, 2), 3).tolist() == PINNED_GLOBAL
    assert epoch_order(Order(42, (3, 3, 3, 3), 4, 2, window=2), 3).tolist() == PINNED_WINDOWED


@pytest.mark.parametrize("window", [None, 2])
def test_ids_are_kept_in_four_bytes(window: int | None) -> None:
    order = Order(5, (700, 300, 500), 4, 2, window)
    assert epoch_order(order, 1).dtype == np.uint32
    assert order.micro_batch_ids(1, 0, 0).dtype == np.int64
    if window is None:  # the type is nothing that numpy's shuffle sees
        long = np.random.Generator(np.random.Philox(key=[5, 1])).permutation(1500)
        assert epoch_order(order, 1).tolist() == long.tolist()


@settings(deadline=None)
@given(worlds=st.sampled_from([(1, 2), (1, 4), (2, 4), (1, 3), (4, 8)]), epoch=st.integers(0, 5))
def test_worlds_get_the_same_micro_batches(worlds: tuple[int, int], epoch: int) -> None:
    config = Config.model_validate({"train": {"global_batch": 16, "micro_batch": 2}})
    order = make_order(config, [30, 30, 21])

    def steps(world: int) -> list[list[int]]:
        plan = make_plan(config, world, 81, 1)
        return [
            order.micro_batch_ids(epoch, step, index).tolist()
            for step in range(plan.steps_per_epoch)
            for rank in range(world)
            for index in plan.micro_batches_of(rank)
        ]

    assert steps(worlds[0]) == steps(worlds[1])


def test_windowed_reads_from_few_shards() -> None:
    lengths = (100,) * 40
    order = Order(7, lengths, 64, 32, window=4)
    shards = epoch_order(order, 0) // 100
    for start in range(0, 4000, 400):
        assert len(set(shards[start : start + 400])) == 4


def test_windowed_reads_from_two_windows_at_most() -> None:
    """A micro-batch may lie across a border; no micro-batch looks farther."""
    order = Order(7, (100,) * 40, 64, 32, window=4)
    batches = [order.micro_batch_ids(0, step, index) for step in range(62) for index in (0, 1)]
    spread = [len(set((ids // 100).tolist())) for ids in batches]
    assert max(spread) <= 8 and np.mean(spread) < 4.3
    everywhere = Order(7, (100,) * 40, 64, 32)
    assert len(set((everywhere.micro_batch_ids(0, 0, 0) // 100).tolist())) > 15


@pytest.mark.parametrize("window", [None, 5])
def test_every_sample_stands_anywhere(window: int | None) -> None:
    """Over epochs the position of each sample is uniform: chi-square over tenths of the epoch."""
    order, epochs = Order(3, (50,) * 10, 64, 32, window), 400
    places = np.stack([np.argsort(epoch_order(order, epoch)) for epoch in range(epochs)])
    counts = np.stack([np.bincount(column // 50, minlength=10) for column in places.T])
    statistic = ((counts - epochs / 10) ** 2 / (epochs / 10)).sum(axis=1)
    # 500 samples: the largest of as many chi-squares of 9 degrees stays under its 1e-6 bound.
    assert statistic.max() < chi2.isf(1e-6, 9)
    assert abs(statistic.mean() - 9) < 4 * np.sqrt(2 * 9 / 500)


def test_global_order_has_no_clumps() -> None:
    """Shards in the order of classes: neighbours are of one class as often as chance has it."""
    classes, per_class = 100, 50
    order = Order(7, (per_class,) * classes, 64, 32)
    labels = epoch_order(order, 0) // per_class
    same = (labels[1:] == labels[:-1]).mean()
    expected = (per_class - 1) / (classes * per_class - 1)
    assert abs(same - expected) < 4 * np.sqrt(expected / len(labels))
    batches = labels[: 78 * 64].reshape(78, 64)
    most = [np.bincount(batch).max() for batch in batches]
    assert max(most) <= 6
    positions = np.sort(np.flatnonzero(labels < 10)) / len(labels)
    distance = np.abs(positions - np.arange(1, 501) / 500).max()
    assert distance < 1.95 / np.sqrt(500)


PINNED_GLOBAL = [6, 4, 8, 1, 7, 9, 3, 0, 2, 10, 5, 11]
PINNED_WINDOWED = [8, 7, 1, 6, 0, 2, 9, 4, 3, 10, 5, 11]
