import numpy as np
import pytest

from pipeline.charts.thin import mean_line, thin

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("count", [0, 1, 5, 100])
def test_few_points_all_stay(count: int) -> None:
    assert thin(np.arange(count, dtype=float), 100).tolist() == list(range(count))


@pytest.mark.parametrize(("count", "most"), [(101, 100), (10_000, 700), (10_007, 4), (6, 1)])
def test_no_more_points_than_asked_for(count: int, most: int) -> None:
    kept = thin(RNG.standard_normal(count), most)
    assert len(kept) <= max(most, 5)
    assert (np.diff(kept) > 0).all() and kept[0] == 0 and kept[-1] == count - 1


def test_every_spike_stays() -> None:
    ys = RNG.standard_normal(10_000)
    spikes = [17, 18, 5_000, 9_998]
    ys[spikes] = [50.0, -50.0, 60.0, -60.0]
    assert set(spikes) <= set(thin(ys, 200).tolist())


def test_a_gap_stays_a_gap() -> None:
    ys = RNG.standard_normal(10_000)
    ys[4_000] = np.nan
    ys[6_000:8_000] = np.inf
    kept = thin(ys, 300)
    assert len(kept) <= 300 and 4_000 in kept
    assert ((kept >= 6_000) & (kept < 8_000)).sum() >= 10
    assert np.nanmin(ys) == np.nanmin(ys[kept])


def test_means_are_those_of_the_stretches() -> None:
    xs = np.arange(10.0)
    mean_xs, mean_ys = mean_line(xs, np.array([1.0, 3, 5, 7, 2, 2, 4, 4, 9, np.nan]), 5)
    assert mean_xs.tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert mean_ys[:4].tolist() == [2, 6, 2, 4] and np.isnan(mean_ys[4])
