"""The page as a text: what stands in it, what cannot break out of it, and how large it is."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest

from pipeline.compare import compare_runs, differences
from pipeline.compare.page import html_page
from pipeline.compare.page.payload import MOST_BASELINES, payload
from pipeline.compare.run import Curve, Run
from tests.compare.samples import sample_run, sample_sweep

GENERATED = datetime(2026, 11, 27, 18, 5, tzinfo=UTC)
MOST_BYTES = 3_000_000
SVG_NAMES = "http://www.w3.org/2000/svg"
HOSTILE = '</script><script>alert(1)</script><b>"it\'s" & ünï日本'


class Elements(HTMLParser):
    """All elements of a page, and the text in each of them."""

    def __init__(self, page: str):
        super().__init__()
        self.starts: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.starts.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "br", "wbr"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def count(self, tag: str, **attributes: str) -> int:
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return sum(t == tag and wanted.items() <= a.items() for t, a in self.starts)

    def has_text(self, text: str) -> bool:
        return any(text in data for tag, data in self.texts if tag not in ("script", "style"))


def page_of(runs: Sequence[Run], baseline: str | None = None) -> str:
    return html_page(compare_runs(runs, baseline), GENERATED)


def data_of(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    return json.loads(text)


def test_the_table_stands_there_without_a_script() -> None:
    elements = Elements(page_of(sample_sweep(4, 3)))
    assert elements.count("tr", class_="group") == 4
    assert elements.count("tr", class_="run") == 12
    assert [a["aria-sort"] for _, a in elements.starts if "aria-sort" in a] == ["descending"]
    assert elements.has_text("12 runs compared") and elements.has_text("2026-11-27 18:05 UTC")
    assert elements.count("noscript") == 1


def test_rows_are_sorted_by_best_top1_and_the_baseline_is_marked() -> None:
    runs = sample_sweep(5, 1)
    comparison = compare_runs(runs, runs[2].name)
    elements = Elements(html_page(comparison, GENERATED))
    bodies = [attributes for tag, attributes in elements.starts if tag == "tbody"]
    assert [int(body["data-group"] or "") for body in bodies] == comparison.ranked()
    assert [body["data-group"] for body in bodies if "aria-current" in body] == ["2"]


def test_only_settings_that_differ_are_columns_under_their_sections() -> None:
    elements = Elements(page_of(sample_sweep(6, 1)))
    heads = [data for tag, data in elements.texts if tag in ("th", "button")]
    assert {"model", "optim", "metaformer.", "token_mixers", "drop_path", "lr_base"} <= {*heads}
    assert "epochs" not in heads


@pytest.mark.parametrize(("settings", "is_last"), [(2, False), (9, True)])
def test_many_settings_stand_behind_the_results(settings: int, is_last: bool) -> None:
    runs = [
        sample_run(f"run-{i}", {f"model.key{n}": str(i) for n in range(settings)}) for i in range(2)
    ]
    heads = [data for tag, data in Elements(page_of(runs)).texts if tag == "button"]
    assert (heads.index("key0") > heads.index("status")) is is_last


def test_nothing_in_a_name_a_setting_or_a_warning_is_markup() -> None:
    runs = [sample_run(HOSTILE, {"model.name": HOSTILE}), sample_run("other", {"model.name": "x"})]
    comparison = compare_runs(runs)
    comparison.warnings.append(HOSTILE)
    page = html_page(comparison, GENERATED)
    elements = Elements(page)
    assert elements.count("script") == 2 and elements.count("b") == 0
    assert sum(HOSTILE in data for _, data in elements.texts) >= 3
    assert data_of(page)["groups"][0]["runs"] == [HOSTILE]


def test_a_dollar_in_a_name_is_a_dollar() -> None:
    assert Elements(page_of([sample_run("$data ${style}")])).has_text("$data ${style}")


def test_it_asks_for_nothing() -> None:
    page = page_of(sample_sweep(3, 2))
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    assert policy in page
    assert {*re.findall(r"\bhttps?://[^\"]+|@import|url\([^#]", page)} == {SVG_NAMES}
    elements = Elements(page)
    assert [a["href"] for t, a in elements.starts if "href" in a] == ["data:,"]
    assert not [a for _, a in elements.starts if "src" in a or any(k.startswith("on") for k in a)]


def test_differences_are_python_s_for_every_baseline() -> None:
    comparison = compare_runs(sample_sweep(5, 3))
    data = payload(comparison, "step", MOST_BYTES)
    assert len(data["baselines"]) == 5
    for baseline, packed in data["baselines"].items():
        for one, expected in zip(packed, differences(comparison.groups, baseline), strict=True):
            numbers = [expected.delta, expected.p_value, expected.low, expected.high]
            assert one[:4] == [n if n is None else pytest.approx(n, rel=1e-4) for n in numbers]
            assert expected.words.startswith(data["words"][one[4]])


def test_of_very_many_groups_the_best_and_the_chosen_can_be_baselines() -> None:
    comparison = compare_runs(sample_sweep(MOST_BASELINES + 20, 1, points=3))
    comparison = type(comparison)(**{**vars(comparison), "baseline": comparison.ranked()[-1]})
    data = payload(comparison, "step", MOST_BYTES)
    best = comparison.ranked()[: MOST_BASELINES - 1]
    assert {*data["baselines"]} == {*best, comparison.baseline}


@pytest.mark.parametrize(
    "runs",
    [
        [sample_run("alone")],
        [sample_run("untouched", points=0, evaluations=0, status="NEW"), sample_run("other")],
        [sample_run("no-evaluation", evaluations=0)],
        [sample_run("short", points=1, evaluations=1)],
        sample_sweep(1, 4),
        sample_sweep(100, 1, points=20),
        [sample_run("x" * 500)],
    ],
    ids=["one run", "no metrics", "no top-1", "one point", "one group", "100 groups", "long name"],
)
def test_any_number_of_runs_makes_a_page(runs: list[Run]) -> None:
    page = page_of(runs)
    elements = Elements(page)
    assert elements.count("tr", class_="run") == len(runs)
    assert sum(len(group["runs"]) for group in data_of(page)["groups"]) == len(runs)


def test_values_that_are_no_numbers_are_no_json_trouble() -> None:
    run = sample_run("diverged")
    values = np.array([1.0, np.nan, np.inf])
    run.curves["train/loss"] = Curve(np.array([1, 2, 3]), values)
    run.curves["val/loss"] = Curve(np.array([3]), np.array([np.nan]))
    assert "train/loss" in data_of(page_of([run]))["curves"]["metrics"]


@pytest.mark.parametrize(
    ("groups", "seeds", "points"), [(100, 1, 10_000), (10, 10, 3_000), (200, 1, 400)]
)
def test_it_stays_small(groups: int, seeds: int, points: int) -> None:
    page = page_of(sample_sweep(groups, seeds, points))
    assert 500_000 < len(page.encode()) <= MOST_BYTES


def test_progress_is_an_axis_and_no_chart() -> None:
    data = data_of(page_of([sample_run("a")]))
    assert data["curves"]["metrics"][:3] == ["val/top1", "train/loss", "val/loss"]
    assert not [key for key in data["curves"]["metrics"] if key.startswith("progress/")]
    axes = data["curves"]["runs"][0]["axes"]
    assert axes["epoch"] == [0, pytest.approx(3000 / 312, rel=1e-4)]
    assert len(axes["time"]) == 65
