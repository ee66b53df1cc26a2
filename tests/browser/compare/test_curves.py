"""The charts of the page: values, axes, legend, seeds, smoothing, zoom."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.compare import Comparison
from pipeline.compare.page import html_page
from tests.browser.compare.conftest import CHART, GENERATED, paths, shown
from tests.browser.conftest import Browser


def axis_texts(browser: Browser, chart: int) -> list[str]:
    shown(browser, chart)
    script = "return [...document.querySelectorAll(arguments[0])].map((t) => t.textContent)"
    return browser.run(script, f"{CHART.format(chart)} text")


def test_pointing_at_a_chart_shows_the_values_of_all_lines(
    opened: Browser, sweep: Comparison
) -> None:
    assert not opened.find("#values").is_displayed()
    opened.point_at(shown(opened, 1))
    rows = [row.split() for row in opened.texts("#values tr")]
    assert {row[0] for row in rows} == {group.label for group in sweep.groups}
    values = [float(row[-1]) for row in rows]
    assert values == sorted(values, reverse=True)
    step = float(opened.find("#values div").text.split()[-1])
    for name, value in rows:
        group = next(group for group in sweep.groups if group.label == name)
        curves = [run.curves["val/top1"] for run in group.runs]
        at = np.mean([curve.values[curve.steps == step].item() for curve in curves])
        assert float(value) == pytest.approx(at, rel=1e-3)
    assert len(opened.find_all("path.cross")) >= 2
    opened.picture("compare-hover", whole=False)


def test_arrow_keys_read_the_values_aloud(opened: Browser, sweep: Comparison) -> None:
    opened.press(shown(opened, 1), "ARROW_RIGHT")
    spoken = opened.find("#spoken").get_attribute("textContent")
    assert spoken.startswith("val/top1, optimizer step ")
    assert sum(group.label in spoken for group in sweep.groups) == 5


@pytest.mark.parametrize("axis", ["epoch", "images", "time", "gpu_hours"])
def test_another_axis_moves_the_lines(opened: Browser, sweep: Comparison, axis: str) -> None:
    before = axis_texts(opened, 1)
    opened.find(f"#axis option[value={axis}]").click()
    opened.settle()
    assert axis_texts(opened, 1) != before
    run = sweep.groups[0].runs[0]
    opened.press(shown(opened, 1), "END")
    place = opened.find("#values div").text.split()[-1]
    factor = {"k": 1e3, "M": 1e6}.get(place[-1], 1)
    last = run.x_of(axis, run.curves["val/top1"].steps)[-1]
    assert float(place.rstrip("kM")) * factor == pytest.approx(last, rel=0.01)


def test_the_legend_switches_lines_off_and_on(opened: Browser, sweep: Comparison) -> None:
    key = opened.find("#legend .key")
    assert len(paths(opened, 1, "solid")) == 6
    key.click()
    opened.settle()
    assert key.get_attribute("aria-pressed") == "false"
    assert len(paths(opened, 1, "solid")) == 5
    first = sweep.ranked()[0]
    swatch = opened.find(f"tbody[data-group='{first}'] .swatch")
    assert swatch.get_attribute("aria-pressed") == "false"
    swatch.click()
    opened.settle()
    assert len(paths(opened, 1, "solid")) == 6


def test_seeds_are_thin_lines_a_band_or_all_alike(opened: Browser) -> None:
    counts = {}
    for choice in ("mean", "band", "each"):
        opened.find(f"#seeds option[value={choice}]").click()
        opened.settle()
        counts[choice] = {kind: len(paths(opened, 1, kind)) for kind in ("solid", "thin", "band")}
    assert counts["mean"] == {"solid": 6, "thin": 18, "band": 0}
    assert counts["band"] == {"solid": 6, "thin": 0, "band": 6}
    assert counts["each"] == {"solid": 18, "thin": 0, "band": 0}


def test_smoothing_makes_a_noisy_line_smoother(opened: Browser) -> None:
    def roughness() -> float:
        (path, *_) = paths(opened, 2, "solid")
        ys = np.array([float(y) for y in re.findall(r",([\d.]+)", path)])
        return float(np.abs(np.diff(ys, 2)).mean())

    def smooth(percent: float) -> None:
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        opened.run(script, opened.find("#smoothing"), percent)
        opened.settle()

    smooth(0)
    rough = roughness()
    smooth(5)
    assert roughness() < rough / 4
    assert opened.find("#smoothing-value").text == "5 %"


def test_dragging_and_the_choice_of_a_part_zoom_in(opened: Browser) -> None:
    whole = axis_texts(opened, 1)
    opened.drag(shown(opened, 1), 80)
    assert axis_texts(opened, 1) != whole
    assert opened.find("#part").get_attribute("value") == "zoom"
    opened.find("#part option[value='1']").click()
    opened.settle()
    assert axis_texts(opened, 1) == whole
    opened.find("#part option[value='0.2']").click()
    opened.settle()
    assert axis_texts(opened, 1) != whole


def test_a_page_begins_with_the_axis_asked_for(
    browser: Browser, sweep: Comparison, page: Callable[[str], str]
) -> None:
    browser.open(page(html_page(sweep, GENERATED, "epoch")))
    assert browser.find("#axis").get_attribute("value") == "epoch"
    assert browser.errors() == []
