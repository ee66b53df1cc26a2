import math
import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest

from pipeline.charts import Line, line_chart
from pipeline.charts.colors import DARK, LIGHT, Theme, look
from pipeline.charts.naming import apart

SVG = "{http://www.w3.org/2000/svg}"
NAN = math.nan


def chart(*lines: Line) -> ElementTree.Element:
    return ElementTree.fromstring(line_chart(lines, "title", "optimizer step", "train/loss"))


def marks(picture: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [g for g in picture.iter(f"{SVG}g") if g.findtext(f"{SVG}title") == name]


def texts(picture: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


def test_points_stand_where_the_axes_say() -> None:
    picture = chart(Line("a", [0, 50, 100], [0, 10, 10]))
    (path,) = marks(picture, "a")[0].findall(f"{SVG}path")
    points = [tuple(map(float, p.split(","))) for p in path.attrib["d"][1:].split(" ")]
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2, abs=0.1)
    assert points[1][1] == points[2][1] < points[0][1]
    assert {"0", "20", "40", "60", "80", "100", "optimizer step", "train/loss"} <= {*texts(picture)}


def test_what_is_not_finite_is_a_gap_and_a_lone_point_a_dot() -> None:
    picture = chart(Line("a", range(7), [1, 2, NAN, 3, math.inf, 4, 5]))
    (group,) = marks(picture, "a")
    assert group.find(f"{SVG}path").attrib["d"].count("M") == 2
    assert len(group.findall(f"{SVG}circle")) == 1


@pytest.mark.parametrize(
    "lines",
    [[], [Line("empty", [], [])], [Line("nan", [1, 2], [NAN, NAN])]],
    ids=["no line", "no point", "no number"],
)
def test_nothing_to_show_says_so(lines: list[Line]) -> None:
    assert "no values" in texts(chart(*lines))


def test_a_single_point_is_seen() -> None:
    picture = chart(Line("a", [5], [3.2]), Line("none", [], []))
    assert len(marks(picture, "a")[0].findall(f"{SVG}circle")) == 1
    assert "none" in texts(picture) and "no values" not in texts(picture)


def test_names_are_text_whatever_they_hold() -> None:
    name = '</svg><script>"&\x00\x1b\n'
    picture = chart(Line(name, [1, 2], [1, 2]))
    assert picture.find(f".//{SVG}script") is None
    shown = name.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\n", "\ufffd")
    assert shown in texts(picture)


def test_a_long_name_is_shortened_in_the_middle_and_whole_in_its_title() -> None:
    name = "begin-" + "x" * 200 + "-end"
    labels = [
        t for t in chart(Line(name, [1, 2], [1, 2])).iter(f"{SVG}text") if "…" in (t.text or "")
    ]
    assert len(labels) == 1 and len(labels[0].text) < 40
    assert labels[0].text.startswith("begin-") and labels[0].text.endswith("-end")
    assert labels[0].findtext(f"{SVG}title") == name


def test_many_names_go_into_a_legend_below() -> None:
    few, many = (
        chart(*(Line(f"run-{i}", [1, 2], [i, i]) for i in range(count))) for count in (3, 40)
    )
    assert float(many.attrib["height"]) > float(few.attrib["height"])
    assert {f"run-{i}" for i in range(40)} <= {*texts(many)}
    heights = [float(t.attrib["y"]) for t in many.iter(f"{SVG}text") if "run-" in (t.text or "")]
    assert max(heights) < float(many.attrib["height"])


def test_dense_lines_are_pale_under_their_means_and_of_bounded_size() -> None:
    rng, xs = np.random.default_rng(0), np.arange(20_000)
    lines = [Line(f"run-{i}", xs, rng.standard_normal(len(xs))) for i in range(20)]
    drawn = line_chart(lines, "loss", "step", "loss")
    assert len(drawn) < 300_000
    kinds = [g.attrib["class"] for name in ("run-3",) for g in marks(chart(*lines), name)]
    assert kinds == ["c3 pale", "c3"]


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="line 'a': 2 xs and 1 ys"):
        chart(Line("a", [1, 2], [1]))


def test_no_script_no_other_file() -> None:
    drawn = line_chart([Line("a", [1, 2], [1, 2])], "t", "x", "y")
    addresses = re.findall(r"(?:https?:|url\(|href|@import)[^\"']*", drawn)
    assert addresses == ["http://www.w3.org/2000/svg"] and "<script" not in drawn
    assert "prefers-color-scheme:dark" in drawn and 'viewBox="0 0 720 ' in drawn


def test_names_keep_apart_and_inside() -> None:
    places = apart([10, 11, 12, 99, 100], 15, 0, 100)
    assert places == [10, 25, 40, 85, 100]
    assert apart([95, 96, 97], 15, 0, 100) == [70, 85, 100]


def test_looks_repeat_only_after_all_colors_and_dashes() -> None:
    assert len({look(index) for index in range(32)}) == 32


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
class TestColors:
    def test_lines_and_text_stand_out_from_the_ground(self, theme: Theme) -> None:
        assert min(contrast(color, theme.ground) for color in theme.lines) >= 3
        assert contrast(theme.text, theme.ground) >= 7

    @pytest.mark.parametrize("eyes", ["any", "protan", "deutan", "tritan"])
    def test_any_two_colors_differ_for_all_eyes(self, theme: Theme, eyes: str) -> None:
        seen = [lab(SIGHT[eyes] @ linear(color)) for color in theme.lines]
        assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) >= 13


SIGHT = {
    "any": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritan": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
"""Linear RGB as seen with severity 1: Machado, Oliveira and Fernandes 2009."""


def linear(color: str) -> np.ndarray:
    share = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b*, D65."""
    to_xyz = np.array(
        [
            [0.4124, 0.3576, 0.1805],
            [0.2126, 0.7152, 0.0722],
            [0.0193, 0.1192, 0.9505],
        ]
    )
    x, y, z = np.cbrt(np.clip(to_xyz @ rgb, 1e-6, None) / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])
