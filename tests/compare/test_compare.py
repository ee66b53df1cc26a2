"""Runs side by side, from journals written by hand."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pipeline
from pipeline.compare import load_run, load_runs
from pipeline.compare.__main__ import main
from pipeline.compare.runs import differing_settings, wall_seconds
from pipeline.compare.table import as_json, result_rows, verdict
from pipeline.config import Config
from pipeline.config.load import write_resolved
from pipeline.errors import UserError

START_MS = 1_700_000_000_000


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def make(root):
    """A run folder: settings by section, and the journal's records by ``(seconds, record)``."""

    def make(name, evaluations=(), end="FINISHED", extra=(), **settings):
        folder = root / name
        folder.mkdir(parents=True)
        config = Config.model_validate({"name": name, "runs_root": f"/{name}", **settings})
        (folder / "config.resolved.yaml").write_text(write_resolved(config))
        records = [(0, {"kind": "start", "step": 0})]
        for step, top1 in evaluations:
            metrics = {"val/top1": top1, "val/top5": top1 / 2 + 50, "val/loss": 100 - top1}
            metrics |= {"progress/epoch": step / 10, "train/loss": step * 1.5}
            records.append((step, {"kind": "metrics", "step": step, "metrics": metrics}))
        records += extra
        if end is not None:
            records.append((600, {"kind": "end", "step": 0, "status": end}))
        lines = [json.dumps({"t_ms": START_MS + int(s * 1000), **record}) for s, record in records]
        (folder / "journal.jsonl").write_text("\n".join(lines) + "\n")
        return folder

    return make


def speed(at_s, step, value):
    return (at_s, {"kind": "metrics", "step": step, "metrics": {"perf/img_per_s": value}})


def test_only_settings_that_differ_and_mean_something(make):
    runs = load_runs(
        [
            make("a", model={"name": "resnet18"}, tracking={"every_steps": 5}),
            make("b", model={"name": "resnet18"}, optim={"lr_base": 2e-3}, train={"max_steps": 9}),
        ]
    )
    assert differing_settings(runs) == {
        "optim.lr_base": ["0.001", "0.002"],
        "train.max_steps": ["null", "9"],
    }


def test_a_setting_that_only_one_run_knows_is_shown_as_absent(make):
    new, old = make("new"), make("old")
    config = old / "config.resolved.yaml"
    kept = [line for line in config.read_text().splitlines() if "window_shards" not in line]
    config.write_text("\n".join([*kept, "setting_of_before: [1, 2.5]"]))
    assert differing_settings(load_runs([new, old])) == {
        "data.window_shards": ["16", "–"],
        "setting_of_before": ["–", "[1, 2.5]"],
    }


def test_best_final_and_last(make):
    nan = (40, {"kind": "metrics", "step": 40, "metrics": {"val/top1": "NaN"}})
    speeds = [speed(1, 1, 10.0), speed(2, 2, 500.0), speed(3, 3, 520.0)]
    run = load_run(make("a", [(10, 50.0), (20, 71.5), (30, 71.5)], extra=[nan, *speeds]))
    assert run.best == (71.5, 20, 2.0)
    assert str(run.final_top1) == "nan"
    assert (run.final_top5, run.final_val_loss, run.last_train_loss) == (85.75, 28.5, 45.0)
    assert run.images_per_second == 500.0
    assert (run.wall_s, run.status) == (600.0, "FINISHED")


def test_deltas_are_points_against_the_first_run(make):
    runs = load_runs(
        [make("a", [(10, 97.2)]), make("b", [(10, 98.6), (20, 90.0)]), make("c", [(10, 97.0)])]
    )
    rows = dict(result_rows(runs))
    assert rows["  against the first"] == ["–", "+1.40", "-0.20"]
    assert rows["best val/top1"][1] == "98.60 at step 10 (epoch 1)"
    assert rows["final val/top1"] == ["97.20", "90.00", "97.00"]
    deltas = [run["best_top1_minus_first"] for run in as_json(runs)["runs"]]
    assert deltas == pytest.approx([0.0, 1.4, -0.2])


def test_wall_time_leaves_out_the_queue_between_launches():
    times = [("start", 0), ("metrics", 60), ("end", 100), ("start", 5000), ("metrics", 5030)]
    records = [{"kind": kind, "t_ms": START_MS + 1000 * at} for kind, at in times]
    assert wall_seconds(records) == 130.0
    assert wall_seconds([]) is None


@pytest.mark.parametrize(
    ("second", "end", "settings", "sentence"),
    [
        (
            [(9, 98.6)],
            "FINISHED",
            {"augment": {"mixup": 0.0}},
            "b leads by +1.40 points of top-1 (98.60 vs 97.20); n = 1 each, so this may be noise.",
        ),
        (
            [(9, 97.0)],
            "KILLED",
            {"seed": 7},
            (
                "a leads by +0.20 points of top-1 (97.20 vs 97.00); "
                "they differ in the seed only, so this is noise; b is KILLED."
            ),
        ),
        (
            [(9, 97.2)],
            "FINISHED",
            {"augment": {"mixup": 0.0}},
            "a and b are level in top-1 (97.20 vs 97.20); n = 1 each, so this may be noise.",
        ),
        ([], "FAILED", {}, "a: best top-1 97.2 at step 9 (epoch 0.9); no val/top1 yet: b."),
    ],
)
def test_the_sentence(make, second, end, settings, sentence):
    first = make("a", [(9, 97.2)])
    assert verdict(load_runs([first, make("b", second, end, **settings)])) == sentence


def test_the_sentence_names_the_runner_up_among_many(make):
    top1 = {"a": 3, "b": 9, "c": 7}
    runs = load_runs([make(n, [(1, v)], seed=i) for i, (n, v) in enumerate(top1.items())])
    assert verdict(runs).startswith("b leads by +2.00 points of top-1 over c (9.00 vs 7.00)")


def test_a_run_without_metrics_is_shown_and_one_run_is_enough(make, root, capsys):
    make("fresh", end=None)
    (root / "fresh" / "journal.jsonl").unlink()
    assert main(["fresh", "--runs-root", str(root)]) == 0
    shown = capsys.readouterr().out
    assert "no metrics yet" in shown
    assert shown.splitlines()[-1] == "No val/top1 yet: fresh."


def test_runs_of_the_same_name_are_told_apart_by_their_paths(make, root, tmp_path):
    make("a", [(1, 50.0)])
    (tmp_path / "other").mkdir()
    (root / "a").rename(tmp_path / "other" / "a")
    paths = [tmp_path / "other" / "a", make("a", [(1, 60.0)])]
    assert [run.name for run in load_runs(paths)] == [str(path) for path in paths]


def test_an_unknown_run_names_near_ones(make, root):
    make("digits-pool")
    with pytest.raises(UserError, match="did you mean digits-pool"):
        main(["digits-poll", "--runs-root", str(root)])


def test_markdown_is_a_table(make, root, capsys):
    make("a", [(9, 97.2)])
    make("b", [(9, 98.6)], seed=1)
    main(["a", "b", "--md", "--runs-root", str(root)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:5] == ["|  | a | b |", "| --- | ---: | ---: |", "| seed | 42 | 1 |"]
    assert "| against the first | – | +1.40 |" in lines


def compare(*arguments, cwd):
    environment = os.environ | {"PYTHONPATH": str(Path(pipeline.__file__).parents[1])}
    command = [sys.executable, "-m", "pipeline.compare", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_a_terminal_the_table_is_readable_at_100_columns(make, tmp_path):
    names = ["a-run-with-a-rather-long-name", "another-run-with-a-long-name", "c"]
    for index, name in enumerate(names):
        make(name, [(9, 90.0 + index)], model={"name": f"convnextv2_{'x' * 50}{index}"})
    done = compare(*names, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 100
    assert "\x1b" not in done.stdout
    assert "against the first" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("c leads by +1.00 points of top-1 over another")


def test_json_is_alone_on_stdout_and_strict(make, tmp_path):
    make("a", [(9, 97.2)])
    make("b", extra=[(1, {"kind": "metrics", "step": 1, "metrics": {"train/loss": "NaN"}})], seed=3)
    done = compare("a", "b", "--json", cwd=tmp_path)
    shown = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(name))
    assert done.stderr == ""
    assert shown["differing_settings"] == {"seed": {"a": "42", "b": "3"}}
    assert [run["name"] for run in shown["runs"]] == ["a", "b"]
    assert shown["runs"][0]["best"] == {"top1": 97.2, "step": 9, "epoch": 0.9}
    assert (shown["runs"][1]["best"], shown["runs"][1]["last_train_loss"]) == (None, "nan")


def test_a_wrong_name_is_exit_code_2_and_help_is_quick(tmp_path):
    done = compare("nothing", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: run 'nothing'")
    began = time.monotonic()
    assert compare("--help", cwd=tmp_path).returncode == 0
    # A second on an idle machine; others may be at work on this one.
    assert time.monotonic() - began < 3
