"""What the page's script decodes, decoded here."""

import base64

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.compare.page.coding import knots, pack_axis, pack_steps, pack_values
from pipeline.compare.page.curves import fair_share, pack_curves
from pipeline.compare.run import Curve
from tests.compare.samples import sample_run


def values_of(text: str, width: int) -> NDArray[np.float32]:
    kept = np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, width)
    whole = np.zeros((len(kept), 4), np.uint8)
    whole[:, 4 - width :] = kept
    return whole.view("<f4").ravel()


def steps_of(first: int, unit: int, width: int, text: str) -> list[int]:
    distances = np.frombuffer(base64.b64decode(text), f"<u{width}").astype(np.int64)
    return [first, *(first + unit * distances.cumsum()).tolist()]


@pytest.mark.parametrize(("width", "error"), [(4, 1e-7), (3, 1.6e-5)])
def test_values_come_back(width: int, error: float) -> None:
    values = np.random.default_rng(0).lognormal(0, 8, 1000) * np.tile([1, -1], 500)
    np.testing.assert_allclose(values_of(pack_values(values, width), width), values, rtol=error)


@pytest.mark.parametrize("width", [3, 4])
def test_what_is_no_number_comes_back(width: int) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.0, 1e300])
    back = values_of(pack_values(values, width), width)
    assert np.isnan(back[0]) and back[1:].tolist() == [np.inf, -np.inf, 0, np.inf]


@pytest.mark.parametrize(
    ("steps", "width"),
    [
        ([7], 1),
        ([0, 11, 22, 33], 1),
        ([5, 6, 300], 2),
        ([1, 2, 100_000], 4),
        ([0, 1, 10**10], 8),
    ],
)
def test_steps_come_back_in_as_few_bytes_as_hold_them(steps: list[int], width: int) -> None:
    packed = pack_steps(np.array(steps))
    assert packed[2] == width and steps_of(*packed) == steps


@pytest.mark.parametrize(("last", "count"), [(0, 1), (3, 4), (64, 65), (100_000, 65)])
def test_knots_reach_from_the_first_to_the_last_step(last: int, count: int) -> None:
    found = knots(last)
    assert len(found) == count and found[0] == 0 and found[-1] == last
    assert (np.diff(found) > 0).all()


def test_a_straight_axis_needs_its_ends_only() -> None:
    steps = knots(1000)
    assert pack_axis(steps, steps * 0.3) == [0, 300]
    bent = np.concatenate([np.linspace(0, 1, 33), np.linspace(1, 9, 33)[1:]])
    assert pack_axis(steps, bent) == pytest.approx(bent.tolist(), rel=1e-5)
    assert pack_axis(steps, np.full(65, np.nan)) is None
    assert pack_axis(knots(0), np.array([2.0])) == [2.0]


@pytest.mark.parametrize(
    ("lengths", "total", "share"),
    [([10, 10], 100, 10), ([10, 10], 10, 5), ([2, 100, 100], 102, 50), ([], 10, 0)],
)
def test_what_short_curves_leave_is_for_long_ones(
    lengths: list[int], total: int, share: int
) -> None:
    assert fair_share(lengths, total) == share
    assert sum(min(length, share) for length in lengths) <= total


def test_a_thinned_curve_keeps_its_spike_and_its_mean() -> None:
    run = sample_run("a", points=20_000)
    skewed = np.random.default_rng(0).gamma(1, 1.0, 20_000)
    skewed[7_777] = 1000
    run.curves.clear()
    run.curves["train/grad_norm"] = Curve(np.arange(20_000), skewed)
    packed = pack_curves([run], 10_000)
    ((metric, steps, values, mean_steps, means),) = packed["runs"][0]["curves"]
    assert metric == 0
    at = steps_of(*packed["steps"][steps])
    shown = values_of(values, 3)
    assert shown[at.index(7_777)] == 1000
    np.testing.assert_allclose(shown, skewed[at], rtol=2e-5)
    assert len(steps_of(*packed["steps"][mean_steps])) == len(values_of(means, 3))
    assert values_of(means, 3).mean() == pytest.approx(skewed.mean(), rel=0.01)


def test_a_short_curve_is_whole() -> None:
    run = sample_run("a")
    packed = pack_curves([run], 1_000_000)
    for metric, steps, values in packed["runs"][0]["curves"]:
        curve = run.curves[packed["metrics"][metric]]
        assert steps_of(*packed["steps"][steps]) == curve.steps.tolist()
        assert values_of(values, 4).tolist() == curve.values.astype(np.float32).tolist()
    # Those of training and those of evaluation.
    assert len(packed["steps"]) == 2
