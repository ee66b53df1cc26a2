"""The dot chart: where dots stand, what is said of those that are missing, and its ticks."""

import re
from xml.etree import ElementTree

import pytest

from pipeline.charts.colors import DARK, LIGHT
from pipeline.charts.dot_chart import Dot, DotRow, Scale, dot_chart

SVG = "{http://www.w3.org/2000/svg}"


def chart(*rows: DotRow, scale: Scale = "linear") -> ElementTree.Element:
    series = ["ours", "paper"] if not rows else ["ours", "paper", "x"][: len(rows[0].dots)]
    return ElementTree.fromstring(dot_chart(rows, series, "title", "points", "below", scale))


def places(picture: ElementTree.Element) -> dict[str, tuple[float, float]]:
    """Of the circles, by title."""
    return {
        group.findtext(f"{SVG}title", ""): (float(dot.attrib["cx"]), float(dot.attrib["cy"]))
        for group in picture.iter(f"{SVG}g")
        for dot in group.iter(f"{SVG}circle")
        if group.find(f"{SVG}title") is not None
    }


def texts(picture: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


def test_a_linear_axis_is_linear() -> None:
    rows = [DotRow(name, (Dot(value),)) for name, value in (("a", 70.0), ("b", 75.0), ("c", 80.0))]
    at = places(chart(*rows))
    (x1, y1), (x2, y2), (x3, y3) = at["a: 70.0"], at["b: 75.0"], at["c: 80.0"]
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2) and x1 < x2
    assert y2 - y1 == y3 - y2 > 0


def test_a_root_axis_has_the_distances_of_roots_to_both_sides_of_0() -> None:
    values = {"far": -81.0, "near": -1.0, "zero": 0.0, "up": 4.0}
    picture = chart(*(DotRow(name, (Dot(value),)) for name, value in values.items()), scale="root")
    at = {name.partition(":")[0]: x for name, (x, _) in places(picture).items()}
    unit = at["zero"] - at["near"]
    assert at["zero"] - at["far"] == pytest.approx(9 * unit, abs=1)
    assert at["up"] - at["zero"] == pytest.approx(2 * unit, abs=1)
    assert {"-50", "-1", "0", "+1", "-81.0", "+4.0", "+0.0"} <= set(texts(picture))


def test_missing_dots_leave_their_remark_and_provisional_ones_are_hollow() -> None:
    rows = [
        DotRow("missing", (None, Dot(2.0)), "no run"),
        DotRow("open", (Dot(1.0, is_provisional=True), Dot(3.0)), "running"),
    ]
    picture = chart(*rows)
    assert texts(picture).count("no run") == 1 and "running" not in texts(picture)
    assert list(places(picture)) == ["open: 1.0"]
    kinds = [
        g.attrib["class"] for g in picture.iter(f"{SVG}g") if g.find(f"{SVG}title") is not None
    ]
    assert kinds.count("c0 open") == 1 and kinds.count("c1") == 2


def test_an_error_bar_reaches_from_low_to_high() -> None:
    rows = [
        DotRow("a", (Dot(10.0, 8.0, 12.0),)),
        DotRow("b", (Dot(8.0),)),
        DotRow("c", (Dot(12.0),)),
    ]
    picture = chart(*rows)
    (bar,) = [path for path in picture.iter(f"{SVG}path") if path.attrib.get("class") == "bar"]
    start, end = re.match(r"M([\d.]+),[\d.]+H([\d.]+)", bar.attrib["d"]).groups()
    at = places(picture)
    assert (float(start), float(end)) == (at["b: 8.0"][0], at["c: 12.0"][0])


def test_every_mark_lies_inside_and_names_stand_whole() -> None:
    name = "a name that is longer than most, with <angles> & more of it"
    rows = [DotRow(name, (Dot(-77.1, -90.0, -60.0), Dot(3.8)))]
    for scale in ("linear", "root"):
        picture = chart(*rows, scale=scale)
        assert name in texts(picture)
        width = float(picture.attrib["width"])
        assert all(0 < x < width for x, _ in places(picture).values())


def test_nothing_to_show_is_still_a_picture() -> None:
    for scale in ("linear", "root"):
        assert "title" in texts(chart(scale=scale))
        assert "points" in texts(chart(DotRow("a", (None, None)), scale=scale))


def test_both_themes_are_in_it() -> None:
    picture = dot_chart([DotRow("a", (Dot(1.0),))], ["ours"], "t", "x")
    light, dark = picture.split("@media(prefers-color-scheme:dark)")
    assert LIGHT.ground in light and DARK.ground in dark and DARK.lines[0] in dark


def test_rows_and_series_must_agree() -> None:
    with pytest.raises(ValueError, match="row 'a': 1 dots for 2 series"):
        dot_chart([DotRow("a", (Dot(1.0),))], ["ours", "paper"], "t", "x")
    with pytest.raises(ValueError, match="5 series for 4 shapes"):
        dot_chart([], list("abcde"), "t", "x")
