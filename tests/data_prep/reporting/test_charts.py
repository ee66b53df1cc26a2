"""The figures of the report: right at any number of values, and of bounded size."""

import re
import time
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest

from data_prep.reporting.charts import (
    MAX_COLUMNS,
    SIZE_BINS,
    aspect_chart,
    column_chart,
    size_chart,
)

IMAGENET_SAMPLES = 1_281_167


def counted(chart: str) -> int:
    """Images that the titles of a chart's marks add up to."""
    return sum(int(n.replace(",", "")) for n in re.findall(r": ([\d,]+) images?</title>", chart))


def test_charts_of_all_of_imagenet_are_small() -> None:
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.normal(6, 1, (IMAGENET_SAMPLES, 2))).astype(np.int64) + 1
    began = time.monotonic()
    cells, aspects = size_chart(sizes), aspect_chart(sizes[:, 0] / sizes[:, 1])
    assert time.monotonic() - began < 5  # a busy machine; half a second on an idle one
    assert counted(cells) == counted(aspects) == IMAGENET_SAMPLES
    assert 100 < cells.count("<rect") <= SIZE_BINS**2
    assert len(cells) < 250_000
    assert len(aspects) < 30_000
    assert fromstring(cells).tag == fromstring(aspects).tag == "div"


def test_cells_name_the_sizes_in_them() -> None:
    sizes = np.repeat([[500, 375], [375, 500], [20, 9331]], [7, 2, 1], axis=0)
    cells = re.findall(
        r'class="d(\d)" x="(\d+)" y="(\d+)".*?<title>([\d,–]+) × ([\d,–]+): (\d+)',
        size_chart(sizes),
    )
    assert len(cells) == 3
    for level, x, y, widths, heights, n in cells:
        bounds = [[int(v.replace(",", "")) for v in s.split("–")] for s in (widths, heights)]
        inside = [
            all(b[0] <= v <= b[-1] for b, v in zip(bounds, size, strict=True)) for size in sizes
        ]
        assert sum(inside) == int(n)
        assert (int(n) == 7) == (level == "6")
        assert (int(x) > SIZE_BINS - 1 - int(y)) == (bounds[0][0] > bounds[1][0]), (
            "width goes right"
        )


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (500, 1), (1, 500), (65_535, 2)])
def test_charts_of_images_of_one_size(size: tuple[int, int]) -> None:
    sizes = np.array([size] * 3)
    for chart in (size_chart(sizes), aspect_chart(sizes[:, 0] / sizes[:, 1])):
        assert counted(chart) == 3
        assert "nan" not in chart and "inf" not in chart
        assert chart.count("text-anchor") >= 2
        for share in re.findall(r'="(-?[\d.]+)%"', chart):
            assert 0 <= float(share) <= 100


def test_the_median_aspect_is_marked() -> None:
    chart = aspect_chart(np.array([0.5, 1.0, 1.0, 4.0]))
    assert 'class="median" x1="50.00%" x2="50.00%"' in chart
    assert "median 1.00" in chart
    assert [t in chart for t in (">1:4<", ">1:1<", ">4:1<", ">8:1<")] == [True, True, True, False]


@pytest.mark.parametrize("count", [1, 2, 10, 1000, 1024, 10_000, 21_841])
def test_columns_are_few_and_cover_every_value(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 1000, count)
    values[-1] = 1000
    names = [f"<{i}>" for i in range(count)]
    chart = column_chart(values, names, "values", ("first", "last"), str)
    marks = fromstring(chart).iter("rect")
    assert all(int(mark.attrib["height"]) > 0 for mark in marks)
    titles = re.findall(r"<title>&lt;(\d+)&gt;(?:–&lt;(\d+)&gt;)?: (\d+)(?:–(\d+))?</title>", chart)
    assert len(titles) <= MAX_COLUMNS
    shown = {i for first, last, *_ in titles for i in range(int(first), int(last or first) + 1)}
    assert shown >= set(np.flatnonzero(values).tolist())
    for first, last, low, high in titles:
        part = values[int(first) : int(last or first) + 1]
        assert (part.min(), part.max()) == (int(low), int(high or low))
    assert len(chart) < 80_000


def test_columns_are_as_tall_as_their_values() -> None:
    chart = column_chart(np.array([0, 50, 200, 1]), list("abcd"), "", ("", ""), str)
    heights = [int(h) for h in re.findall(r'<rect [^>]*height="(\d+)"', chart)]
    assert heights == [250, 1000, 6], "none for 0, a sliver for little"
    assert re.findall(r">(\d+)</text>", chart) == ["0", "50", "100", "150", "200"]
    nothing = column_chart(np.array([0, 0]), ["a", "b"], "", ("", ""), str)
    assert not list(fromstring(nothing).iter("rect"))
