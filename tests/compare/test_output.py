"""What is printed: tables that fit, Markdown, CSV and JSON."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import pipeline
from pipeline.compare import compare_runs, load_runs
from pipeline.compare.__main__ import main
from pipeline.compare.text.rows import CurveChoice, own_settings, result_rows, setting_rows
from pipeline.compare.text.terminal import print_comparison
from pipeline.errors import UserError

CHOICE = CurveChoice(("train/loss", "val/top1"))


def compared(runs, *names, baseline=None):
    folders = [runs.root / name for name in names] or sorted(runs.root.iterdir())
    return compare_runs(load_runs(folders), baseline)


def shown(comparison, width):
    out = Console(width=width, file=io.StringIO(), soft_wrap=True, highlight=False)
    print_comparison(out, comparison, CHOICE)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def sweep(runs, count=12, seeds=2):
    mixers = ("pooling", "identity", "depthwise_conv")
    for index in range(count):
        for seed in range(seeds):
            runs.make(
                f"sweep-of-token-mixers-{index:02d}-s{seed}",
                [40.0, 60.0 + index + 0.3 * seed],
                seed=seed,
                model={"metaformer": {"token_mixers": mixers[index % 3]}},
                optim={"lr_base": 1e-3 * (1 + index)},
            )
    return runs


def test_utilisation_is_shown_where_a_run_has_it(runs):
    runs.make("cpu", [90.0, 91.0])
    assert "MFU, median" not in dict(result_rows(compared(runs)))
    runs.make("gpu", [90.0, 91.0], optim={"lr_base": 2e-3}, metrics={"perf/mfu": [0.2, 0.3]})
    assert dict(result_rows(compared(runs, "cpu", "gpu")))["MFU, median"] == ["–", "0.250"]


def test_deltas_are_points_against_the_baseline(runs):
    for name, rate, top1 in (("a", 1e-3, [97.2]), ("b", 2e-3, [98.6, 90.0]), ("c", 3e-3, [97.0])):
        runs.make(name, top1, optim={"lr_base": rate})
    rows = dict(result_rows(compared(runs)))
    assert rows["  against the baseline"] == ["baseline", "+1.40 ▲", "-0.20 ▼"]
    assert rows["  Welch's t-test"] == ["–", "n = 1 each, no test", "n = 1 each, no test"]
    assert rows["best val/top1"][1] == "98.60 at step 10 (epoch 1)"
    assert rows["final val/top1"] == ["97.20", "90.00", "97.00"]
    other = dict(result_rows(compared(runs, baseline="c")))
    assert other["  against the baseline"] == ["+0.20 ▲", "+1.60 ▲", "baseline"]


def test_seeds_are_shown_as_mean_and_deviation(seeds):
    rows = dict(result_rows(compared(seeds)))
    assert rows["best val/top1"] == ["95.10 ± 0.40", "98.10 ± 0.26"]
    assert rows["seeds"] == ["n = 3 (0, 1, 2)", "n = 3 (0, 1, 2)"]
    assert rows["status"] == ["3 FINISHED", "3 FINISHED"]
    assert re.fullmatch(r"p = 0\.00\d+: better", rows["  Welch's t-test"][1])
    low, high = rows["  95 % interval"][1].split(" to ")
    assert float(low) < 3.0 < float(high)


def test_several_tests_say_that_they_are_corrected(seeds):
    for seed in range(3):
        seeds.make(f"lr-s{seed}", [90.0 + seed], seed=seed, optim={"lr_base": 1.0})
    assert "  Welch's t-test, Holm" in dict(result_rows(compared(seeds)))


def test_the_average_of_the_weights_has_its_own_row(runs):
    runs.make("a", [50.0, 60.0], metrics={"val/ema_top1": [55.0, 58.0]})
    rows = dict(result_rows(compared(runs)))
    assert rows["best val/ema_top1"] == ["58.00 at step 20 (epoch 2)"]
    assert (rows["final val/ema_top1"], rows["final val/top1"]) == (["58.00"], ["60.00"])


def test_an_unfinished_run_says_how_far_it_is(runs):
    runs.make("a", [50.0], end="KILLED", train={"epochs": 20}, optim={"cooldown_epochs": 0})
    runs.make("fresh", optim={"lr_base": 1.0})
    rows = dict(result_rows(compared(runs)))
    assert rows["status"] == ["KILLED, epoch 1 of 20", "no metrics yet"]
    assert rows["epochs"] == ["1 of 20", "–"]


def test_cost_without_a_gpu_is_not_called_one(runs):
    runs.make("a", [50.0], device="cpu")
    assert dict(result_rows(compared(runs)))["rank-hours"] == ["0.0167"]
    runs.make("b", [50.0])
    assert "GPU-hours" in dict(result_rows(compared(runs)))


def test_settings_that_differ_by_section(runs):
    runs.make("a", [50.0], augment={"mixup": 0.0})
    runs.make("b", [50.0], model={"metaformer": {"act": "relu"}}, device="cpu")
    sections = setting_rows(compared(runs))
    assert sections == {
        "": [("device", ["cuda", "cpu"])],
        "augment": [("mixup", ["0", "0.8"])],
        "model": [("metaformer.act", ["gelu", "relu"])],
    }
    assert own_settings(compared(runs), 1) == {
        "": ["device=cpu"],
        "augment": ["mixup=0.8"],
        "model": ["act=relu"],
    }


@pytest.mark.parametrize("width", [80, 100, 200])
def test_two_runs_fit_and_stand_in_columns(runs, width):
    runs.make("digits-pooling-fp32", [50.0, 98.59])
    runs.make("digits-identity-fp32", [50.0, 95.49], optim={"lr_base": 2e-3})
    text = shown(compared(runs), width)
    *tables, _ = text.splitlines()
    assert max(map(len, tables)) <= width
    assert "│ val/top1" in text
    assert "█" in text
    assert "digits-identity-fp32" in text


@pytest.mark.parametrize("width", [80, 200])
def test_many_groups_fit_and_stand_in_rows_the_best_first(runs, width):
    comparison = compared(sweep(runs))
    lines = shown(comparison, width).splitlines()
    table = lines[: next(n for n, line in enumerate(lines) if line.startswith("p: "))]
    assert max(map(len, table)) <= width
    assert not any("…" in line for line in table)
    names = [line.split()[0] for line in table if line.startswith(" sweep")]
    assert names == [f"sweep-of-token-mixers-{index:02d}" for index in reversed(range(12))]
    assert "71.15 ± 0.21" in table[4]
    assert any("█" in line for line in table)
    joined = "\n".join(table)
    assert "GPU-hours" in joined
    assert ("images" in joined) == (width == 200)
    assert "lr_base=0.012" in joined


def test_a_row_says_which_run_is_unfinished(runs):
    sweep(runs, count=6, seeds=1)
    runs.make("slow", [10.0], end="KILLED", optim={"lr_base": 9.0})
    assert "KILLED, epoch 1 of 310" in shown(compared(runs), 80)


def test_names_and_values_in_brackets_are_no_markup(runs):
    runs.make("a", [50.0], model={"freeze": ("stem.*",)})
    runs.make("b", [50.0])
    assert "[stem.*]" in shown(compared(runs), 100)


def test_markdown_is_a_table(runs, capsys):
    runs.make("a", [97.2])
    runs.make("b", [98.6], optim={"lr_base": 2e-3})
    assert main(["a", "b", "--md", "--x", "epoch", "--runs-root", str(runs.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:5] == [
        "|  | a | b |",
        "| --- | ---: | ---: |",
        "| optim.lr_base | 0.001 | 0.002 |",
    ]
    assert "| against the baseline | baseline | +1.40 ▲ |" in lines
    assert "### val/top1, means around the epoch" in lines
    assert lines[-1].startswith("b leads by +1.40")
    assert any("Welch's t-test" in line for line in lines)


def test_csv_has_a_row_per_run_and_every_column(seeds, capsys):
    main(["--csv", "--runs-root", str(seeds.root), "--baseline", "pool"])
    text = capsys.readouterr().out
    header = text.splitlines()[0].split(",")
    assert len(set(header)) == len(header)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == [f"{g}-s{s}" for g in ("ident", "pool") for s in "012"]
    assert [row["is_baseline"] for row in rows] == ["False"] * 3 + ["True"] * 3
    assert (rows[3]["group"], rows[3]["best_top1"], rows[3]["seed"]) == ("pool", "98.0", "0")
    assert rows[3]["model.metaformer.token_mixers"] == "pooling"
    assert rows[3]["tag.git_dirty"] == "false"


def compare(*arguments, cwd):
    environment = os.environ | {"PYTHONPATH": str(Path(pipeline.__file__).parents[1])}
    command = [sys.executable, "-m", "pipeline.compare", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_a_terminal_the_table_is_readable_at_100_columns(runs, tmp_path):
    names = ["a-run-with-a-rather-long-name", "another-run-with-a-long-name", "c"]
    for index, name in enumerate(names):
        runs.make(name, [90.0 + index], model={"name": f"convnextv2_{'x' * 50}{index}"})
    done = compare(*names, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 100
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("c leads by +1.00 points of top-1 over another")


def test_json_is_alone_on_stdout_and_strict(runs, tmp_path):
    runs.make("a", [97.2], metrics={"train/x": [float("nan")]})
    runs.make("b", [float("nan")], optim={"lr_base": 2e-3})
    done = compare("--json", cwd=tmp_path)
    result = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(name))
    assert done.stderr == "all 2 runs under runs\n"
    assert result["differing_settings"] == {"optim.lr_base": {"a": "0.001", "b": "0.002"}}
    assert [run["name"] for run in result["runs"]] == ["a", "b"]
    assert (result["runs"][0]["best_top1"], result["runs"][0]["best_step"]) == (97.2, 10)
    assert (result["runs"][1]["best_top1"], result["runs"][1]["final_top1"]) == (None, "nan")
    assert (result["baseline"], result["test"]) == ("a", "Welch's t-test")
    assert result["groups"][0]["best_top1"] == {"mean": 97.2, "std": None, "n": 1}
    assert result["groups"][1]["against_baseline"]["words"] == "no val/top1 to compare"
    curves = result["curves"]["val/top1"]
    assert len(curves["x"]) == len(curves["groups"]["a"])
    assert set(curves["groups"]["b"]) == {None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "error: run 'nothing'"),
        (
            ["a", "--metric", "val/top"],
            "error: --metric 'val/top': no run has it; did you mean val/",
        ),
        (["a", "--base", "x.yaml"], "error: --base and --svg go with --paper"),
        (["a", "--html", "no/such/page.html"], "error: no/such/page.html: cannot be written"),
        (["a", "--json", "--md"], "usage: "),
        (["--runs-root", "empty"], "error: no runs under empty"),
    ],
)
def test_mistakes_are_exit_code_2(runs, tmp_path, arguments, message):
    runs.make("a", [50.0])
    done = compare(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)


def test_a_page_goes_together_with_the_table(runs, capsys, tmp_path):
    runs.make("a", [50.0])
    page = tmp_path / "page.html"
    main(["a", "--html", str(page), "--runs-root", str(runs.root)])
    captured = capsys.readouterr()
    assert page.read_text().lstrip().lower().startswith("<!doctype html>")
    assert captured.out.splitlines()[-1].startswith("a: best top-1 50.00")
    assert captured.err.startswith(f"page: {page} (")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "runs"]


def test_an_unknown_metric_names_near_ones(runs):
    runs.make("a", [50.0])
    with pytest.raises(UserError, match="did you mean val/top1"):
        main(["a", "--metric", "val/tpo1", "--runs-root", str(runs.root)])
