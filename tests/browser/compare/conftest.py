"""A page of six settings with three seeds each, open in Chromium."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.compare import Comparison, compare_runs
from pipeline.compare.page import html_page
from tests.browser.conftest import Browser
from tests.compare.samples import sample_sweep

GENERATED = datetime(2026, 11, 27, tzinfo=UTC)
CHART = "#charts .chart:nth-child({}) svg"


@pytest.fixture(scope="package")
def sweep() -> Comparison:
    return compare_runs(sample_sweep(6, 3, points=400))


@pytest.fixture(scope="package")
def sweep_page(sweep: Comparison) -> str:
    return html_page(sweep, GENERATED)


@pytest.fixture
def opened(browser: Browser, sweep_page: str, page: Callable[[str], str]) -> Iterator[Browser]:
    """Six groups of three seeds; afterwards there was no error and no request."""
    browser.open(page(sweep_page))
    browser.settle()
    yield browser
    assert browser.errors() == [] and browser.requests() == []


def labels(browser: Browser) -> list[str]:
    return [text for text in browser.texts("tr.group .label") if text]


def shown(browser: Browser, chart: int) -> Any:
    """A chart's drawing, after it has come into sight: charts are drawn then."""
    svg = browser.find(CHART.format(chart))
    browser.run("arguments[0].scrollIntoView({block: 'center'})", svg)
    browser.settle()
    return svg


def paths(browser: Browser, chart: int, kind: str) -> list[str]:
    """The drawn lines of a kind, as SVG paths."""
    shown(browser, chart)
    selector = f"{CHART.format(chart)} path.{kind}"
    script = "return [...document.querySelectorAll(arguments[0])].map((p) => p.getAttribute('d'))"
    return browser.run(script, selector)
