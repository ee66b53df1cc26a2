"""The table of the page: sorting, baseline, filter, single runs."""

import re
from html import unescape
from typing import Any

import pytest

from pipeline.compare import Comparison
from tests.browser.compare.conftest import labels, paths
from tests.browser.conftest import Browser


def head(browser: Browser, text: str) -> Any:
    return next(h for h in browser.find_all("thead th[scope=col]") if h.text.startswith(text))


def test_a_click_on_a_head_sorts_and_a_second_one_turns_it_round(
    opened: Browser, sweep: Comparison
) -> None:
    opened.picture("compare-light")
    assert labels(opened) == [sweep.groups[i].label for i in sweep.ranked()]
    opened.find("th.name button").click()
    assert labels(opened) == sorted(labels(opened))
    assert head(opened, "group").get_attribute("aria-sort") == "ascending"
    opened.find("th.name button").click()
    assert labels(opened) == sorted(labels(opened), reverse=True)
    assert len(opened.find_all("[aria-sort]")) == 1


def test_numbers_sort_as_numbers_by_keyboard_too(opened: Browser, sweep: Comparison) -> None:
    button = head(opened, "lr_base").find_element("css selector", "button")
    opened.press(button, "ENTER")
    rates = dict(
        zip(
            (g.label for g in sweep.groups),
            map(float, sweep.differing["optim.lr_base"]),
            strict=True,
        )
    )
    assert [rates[label] for label in labels(opened)] == sorted(rates.values())
    opened.press(head(opened, "val/loss").find_element("css selector", "button"), "SPACE")
    losses = [
        float(cell.get_attribute("data-number"))
        for cell in opened.find_all("tr.group td.number[data-number]")
        if cell.text.startswith("1.")
    ]
    assert losses == sorted(losses) and len(losses) > 3


def test_another_baseline_changes_all_differences_to_python_s(
    opened: Browser, sweep: Comparison
) -> None:
    index = sweep.ranked()[-1]
    body = f"tbody[data-group='{index}']"
    before = opened.find(f"{body} .points").text
    opened.find(f"{body} .base").click()
    assert opened.find(f"{body} .points").text == "0.00" != before
    assert [b.get_attribute("data-group") for b in opened.find_all("tbody[aria-current]")] == [
        str(index)
    ]
    against = type(sweep)(**{**vars(sweep), "baseline": index}).differences()
    for place, found in enumerate(against):
        if place == index:
            continue
        cell = opened.find(f"tbody[data-group='{place}'] td.delta")
        points, words = (
            cell.find_element("css selector", f".{c}").text for c in ("points", "words")
        )
        assert float(points) == pytest.approx(found.delta, abs=0.00501)
        low, high = map(float, re.findall(r"[+-]?[\d.]+(?= to|$)", cell.get_attribute("title")))
        assert (low, high) == pytest.approx((found.low, found.high), abs=0.00501)
        p_value = float(re.findall(r"p [=<] ([\d.]+)", words)[0])
        assert p_value == pytest.approx(max(found.p_value or 0, 0.0001), rel=0.06)
        assert words.startswith(found.words.partition(" (")[0])


def test_back_at_the_first_baseline_the_table_reads_as_python_wrote_it(
    opened: Browser, sweep_page: str
) -> None:
    script = "return [...document.querySelectorAll('td.delta')].map((cell) => cell.textContent)"
    before = re.findall(r'<td class="delta".*?</td>', sweep_page)
    before = [unescape(re.sub("<.*?>", "", cell)) for cell in before]
    assert opened.run(script) == before
    current = opened.find("tbody[aria-current]").get_attribute("data-group")
    opened.find("tbody:not([aria-current]) .base").click()
    assert opened.run(script) != before
    opened.find(f"tbody[data-group='{current}'] .base").click()
    assert opened.run(script) == before


def test_the_filter_leaves_rows_and_lines_that_match(opened: Browser, sweep: Comparison) -> None:
    opened.find("#filter").send_keys("token_mixers=identity")
    opened.settle()
    wanted = [
        g.label for g in sweep.groups if g.settings["model.metaformer.token_mixers"] == "identity"
    ]
    assert labels(opened) == wanted and opened.find("#shown").text == f"{len(wanted)} of 6"
    assert len(paths(opened, 1, "solid")) == len(wanted)


def test_rows_open_to_single_runs(opened: Browser, sweep: Comparison) -> None:
    def seen() -> int:
        return sum(row.is_displayed() for row in opened.find_all("tr.run"))

    assert seen() == 0
    opened.find(".fold").click()
    assert seen() == 3 and opened.find(".fold").get_attribute("aria-expanded") == "true"
    opened.find("#unfold").click()
    assert seen() == 18
