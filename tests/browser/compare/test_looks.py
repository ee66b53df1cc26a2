"""The page in the dark, narrow, with many and with odd runs, and without a script."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.compare import compare_runs
from pipeline.compare.page import html_page
from tests.browser.compare.conftest import GENERATED, labels, paths, shown
from tests.browser.conftest import Browser
from tests.compare.samples import sample_run, sample_sweep

HOSTILE = '</script><script>alert(1)</script><b>"it\'s" & ünï日本'


def test_dark_where_the_system_is_and_where_the_reader_says(
    browser: Browser, sweep_page: str, page: Callable[[str], str]
) -> None:
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    browser.open(page(sweep_page), dark=True)
    assert browser.run(ground) == "rgb(21, 24, 28)"
    browser.picture("compare-dark")
    browser.find("#theme").click()
    assert browser.run(ground) == "rgb(255, 255, 255)"
    assert browser.find("#theme").text == "Dark"
    assert browser.errors() == []


@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_is_wider_than_the_window(
    browser: Browser, sweep_page: str, page: Callable[[str], str], width: int
) -> None:
    browser.open(page(sweep_page), width=width, height=800)
    browser.settle()
    assert browser.run("return document.documentElement.scrollWidth") == width
    browser.picture(f"compare-{width}")
    assert browser.errors() == []


def test_a_hundred_runs_are_readable_from_the_start(
    browser: Browser, page: Callable[[str], str]
) -> None:
    browser.open(page(html_page(compare_runs(sample_sweep(100, 1, points=300)), GENERATED)))
    browser.settle()
    assert 10 <= len(paths(browser, 1, "solid")) <= 11
    next(b for b in browser.find_all(".sets button") if b.text == "All").click()
    browser.settle()
    assert len(paths(browser, 1, "solid")) == 100
    browser.point_at(shown(browser, 1))
    assert len(browser.find_all("#values tr")) == 14
    assert browser.find("#values").text.endswith("and 86 farther away")
    browser.picture("compare-100", whole=False)
    assert browser.errors() == [] and browser.requests() == []


def test_odd_runs_break_nothing(browser: Browser, page: Callable[[str], str]) -> None:
    diverged = sample_run(HOSTILE, {"model.name": HOSTILE})
    losses = diverged.curves["train/loss"].values
    losses[100:120], losses[200], losses[250] = np.nan, np.inf, 1e30
    without_axes = sample_run("old", {"model.name": "b"})
    for key in ("progress/epoch", "progress/gpu_hours"):
        del without_axes.curves[key]
    runs = [
        diverged,
        without_axes,
        sample_run("x" * 300, {"model.name": "c"}),
        sample_run("untouched", {"model.name": "d"}, points=0, evaluations=0, status="NEW"),
        sample_run("one-point", {"model.name": "e"}, points=1, evaluations=1, status="FAILED"),
    ]
    browser.open(page(html_page(compare_runs(runs), GENERATED)))
    browser.settle()
    assert HOSTILE in labels(browser)
    assert all("NaN" not in path for path in paths(browser, 2, "solid"))
    assert any(path.count("M") > 2 for path in paths(browser, 2, "solid"))
    assert any("a1.2" in path for path in paths(browser, 1, "solid"))
    browser.find("#axis option[value=gpu_hours]").click()
    browser.settle()
    assert browser.find("#missing").text == "Not drawn, their journals have no GPU-hours: old."
    browser.picture("compare-odd")
    assert browser.errors() == [] and browser.requests() == []


def test_without_a_script_the_table_is_there(
    browser: Browser, sweep_page: str, page: Callable[[str], str]
) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(page(sweep_page))
        shown = browser.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        rows = [row.is_displayed() for row in browser.find_all("tr.run")]
        note = browser.find("noscript").text
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert shown and all(rows) and len(rows) == 18
    assert note.startswith("Scripts are off")
