"""A filled table as text, numbers and picture."""

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from pipeline.compare.__main__ import main
from pipeline.compare.paper import TABLES, PaperTable, fill
from pipeline.errors import UserError
from tests.compare.paper_runs import CONFIGS, paper_run

MINIATURE = CONFIGS / "miniature.yaml"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def table5() -> PaperTable:
    return fill(
        "table5",
        [
            paper_run("s12.yaml", "seed=1", top1=77.1, best=77.3),
            paper_run("s12.yaml", "seed=2", top1=76.9, best=77.5),
            paper_run("ablations/identity.yaml", top1=74.0),
            paper_run("ablations/relu.yaml", top1=60.0, epochs=100, status="RUNNING"),
        ],
    )


def test_a_table_fits_a_terminal_of_100_characters() -> None:
    for name in TABLES:
        text = Console(width=100, file=io.StringIO())
        text.print(fill(name, []).terminal())
        lines = text.file.getvalue().splitlines()
        assert max(map(len, lines)) <= 100 and "…" not in "".join(lines)


def test_markdown_has_a_line_per_row(table5: PaperTable) -> None:
    title, _, header, _, *rest = table5.markdown().splitlines()
    assert title == "### Table 5: ablations of PoolFormer-S12"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in rest[:18]]
    by_name = {line[0]: line for line in cells}
    assert len(by_name) == 18
    heads = [cell.strip() for cell in header.strip("|").split("|")]
    baseline = dict(zip(heads, by_name["baseline"], strict=True))
    assert baseline["ours"] == "77.00 ± 0.14" and baseline["n"] == "2"
    assert (baseline["best"], baseline["paper"]) == ("77.40 ± 0.14", "77.2")
    assert (baseline["diff"], baseline["epochs"]) == ("-0.20", "310 of 310")
    identity = dict(zip(heads, by_name["token mixer identity"], strict=True))
    assert (identity["Δ ours"], identity["Δ paper"]) == ("-3.00", "-2.9")
    relu = dict(zip(heads, by_name["activation ReLU"], strict=True))
    assert (relu["ours"], relu["diff"], relu["status"]) == ("60.00 so far", "–", "running")
    assert by_name["norm none"][-1] == "no run"
    assert all(f"- {note}" in rest for note in table5.notes)


def test_json_and_csv_hold_the_same(table5: PaperTable) -> None:
    known = json.loads(json.dumps(table5.as_json(), allow_nan=False))
    baseline, identity, *others = known["rows"]
    assert baseline["ours"] == {"top1": 77.0, "std": 0.1414, "seeds": 2}
    assert baseline["runs"] == ["s12", "s12"] and baseline["difference"] == -0.2
    assert identity["ours_to_baseline"] == -3.0 and identity["paper_to_baseline"] == -2.9
    assert others[0]["ours"] is None and others[0]["status"] == "no run"
    lines = list(csv.DictReader(io.StringIO(table5.csv())))
    assert len(lines) == 18 and lines[0]["ours_top1"] == "77.0" and lines[0]["seeds"] == "2"
    assert lines[2]["ours_top1"] == "" and lines[2]["seeds"] == "0"


def test_the_picture_shows_what_is_known(table5: PaperTable) -> None:
    picture = ElementTree.fromstring(table5.svg())
    texts = [element.text for element in picture.iter(f"{SVG}text")]
    assert "baseline" not in texts and "token mixer identity" in texts
    assert {"-3.0", "-2.9", "no run", "running"} <= set(texts)
    (subtitle,) = [text for text in texts if text and "baseline" in text and "ours" in text]
    assert subtitle == (
        "ours: imagenet1k, 300 epochs, n = 1–2, baseline 77.0 %; "
        "paper: ImageNet-1k, 300 epochs, baseline 77.2 %"
    )
    assert "no runs yet" in fill("table1", []).svg()


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_every_form(name: str) -> None:
    table = fill(name, [])
    ElementTree.fromstring(table.svg())
    assert len(table.as_json()["rows"]) == len(table.rows) == table.csv().count("\n") - 1
    assert table.markdown().count("no run") + table.markdown().count("| paper only |") >= len(
        table.rows
    )


def test_the_command_fills_a_table_from_run_folders(runs, tmp_path: Path, capsys) -> None:
    words = ["--runs-root", str(runs.root), "--paper", "table5", "--base", str(MINIATURE)]
    picture = tmp_path / "table.svg"
    assert main([*words, "--json"]) == 0
    assert {row["status"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"no run"}
    runs.make("nothing-like-it", [50.0])
    assert main([*words, "--md", "--svg", str(picture)]) == 0
    assert "| no run |" in capsys.readouterr().out and picture.read_text().startswith("<svg")
    with pytest.raises(UserError, match="did you mean table5"):
        main(["--runs-root", str(runs.root), "--paper", "table55"])
