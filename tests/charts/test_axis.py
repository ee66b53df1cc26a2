import math

import pytest

from pipeline.charts.axis import axis_of, number_text, round_values, tick_texts


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (0.21, 0.29, (0.22, 0.24, 0.26, 0.28)),
        (-3, 12, (0.0, 5.0, 10.0)),
        (0, 375_000, (0.0, 100_000.0, 200_000.0, 300_000.0)),
        (0, 1e-4, (0.0, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4)),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert round_values(low, high, 6) == ticks


@pytest.mark.parametrize("most", [2, 5, 8])
@pytest.mark.parametrize("width", [1e-9, 0.013, 1.0, 7.7, 5e4, 3e17])
def test_never_more_ticks_than_asked_for(width: float, most: int) -> None:
    ticks = round_values(0.1 * width, 1.1 * width, most)
    assert 1 <= len(ticks) <= most
    assert all(0.1 * width * 0.999 <= tick <= 1.1 * width * 1.001 for tick in ticks)


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([], (0, 1)),
        ([math.nan, math.inf], (0, 1)),
        ([3.2], (3.04, 3.36)),
        ([0.0, 0.0], (0, 1)),
        ([2.0, math.nan, 4.0], (2, 4)),
    ],
)
def test_an_axis_has_room_whatever_it_shows(values: list[float], ends: tuple[float, float]) -> None:
    axis = axis_of(values, 6, is_padded=False)
    assert (axis.low, axis.high) == pytest.approx(ends)
    assert axis.share(axis.low) == 0 and axis.share(axis.high) == 1


@pytest.mark.parametrize("is_padded", [True, False])
@pytest.mark.parametrize("other", [0.0, 1.0, 5e-324, 1e-310, 1e-280, 1e300, 1.7976931348623157e308])
@pytest.mark.parametrize("value", [5e-324, -1e-310, 1e-265, 1e300, -1.7976931348623157e308])
def test_any_finite_range_has_an_axis(value: float, other: float, is_padded: bool) -> None:
    axis = axis_of([value, other], 6, is_padded)
    assert 0 <= axis.share(min(value, other)) <= axis.share(max(value, other)) <= 1
    assert 1 <= len(axis.ticks) <= 6 and len(axis.texts) == len(axis.ticks)


def test_padding_does_not_invent_negative_values() -> None:
    assert axis_of([0.001, 10], 6, is_padded=True).low == 0
    assert axis_of([5, 10], 6, is_padded=True).low == pytest.approx(4.8)


@pytest.mark.parametrize(
    ("ticks", "texts"),
    [
        ((0.0, 0.25, 0.5), ["0.0", "0.2", "0.5"]),
        ((0.0, 20_000.0, 40_000.0), ["0", "20k", "40k"]),
        ((0.0, 5e-5, 1e-4), ["0", "5e-5", "1e-4"]),
        ((76.0, 76.5, 77.0), ["76.0", "76.5", "77.0"]),
        ((1e9, 2e9), ["1G", "2G"]),
        ((5.0,), ["5"]),
    ],
)
def test_texts_of_ticks(ticks: tuple[float, ...], texts: list[str]) -> None:
    assert tick_texts(ticks) == texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.32178, "0.3218"),
        (76.94, "76.94"),
        (0, "0"),
        (384_360_000, "384.4M"),
        (9_999, "9999"),
        (-12_346, "-12.35k"),
        (3.21e-5, "3.21e-5"),
        (1e30, "1e30"),
        (1.7976931348623157e308, "1.8e308"),
        (5e-324, "4.94e-324"),
        (999_999, "1M"),
        (math.nan, "NaN"),
        (-math.inf, "-∞"),
    ],
)
def test_texts_of_numbers(value: float, text: str) -> None:
    assert number_text(value) == text
