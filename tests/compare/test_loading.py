"""Journals to runs: what is best, what it cost, and what a damaged journal still tells."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.compare import load_run, load_runs
from pipeline.compare.judging.comparison import compare_runs
from pipeline.compare.reading.journal_history import read_history
from pipeline.errors import UserError
from tests.compare.conftest import START_MS


def journal(tmp_path, *records):
    """A journal of ``(seconds, record)``."""
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"t_ms": START_MS + int(1000 * s), **record}) for s, record in records]
    (folder / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def start(at_s, step=0, **facts):
    return at_s, {"kind": "start", "step": step, **facts}


def point(at_s, step, **metrics):
    named = {key.replace("__", "/"): value for key, value in metrics.items()}
    return at_s, {"kind": "metrics", "step": step, "metrics": named}


def end(at_s, status="FINISHED"):
    return at_s, {"kind": "end", "step": 0, "status": status}


def test_best_final_and_last(runs):
    run = load_run(runs.make("a", [50.0, 71.5, 71.5, math.nan], metrics={"train/x": [1, 2, 3, 4]}))
    assert run.best == (71.5, 20, 2.0)
    assert math.isnan(run.final_top1 or 0)
    assert (run.last_train_loss, run.last_step, run.epochs, run.images) == (0.5, 40, 4.0, 2560.0)
    assert (run.wall_s, run.images_per_second, run.status) == (240.0, 100.0, "FINISHED")
    assert run.gpu_hours == pytest.approx(4 / 60)
    assert run.curves["train/x"].values.tolist() == [1, 2, 3, 4]
    assert (run.experiment, run.worlds, run.seed, run.planned_epochs) == ("digits", (1,), "42", 310)


def test_the_average_decides_where_there_is_one(runs):
    run = load_run(runs.make("a", [90.0, 80.0], metrics={"val/ema_top1": [60.0, 70.0]}))
    assert run.best == (70.0, 20, 2.0)
    assert (run.final_top1, run.final_ema_top1) == (80.0, 70.0)


def test_infinity_is_no_best(runs):
    run = load_run(runs.make("a", [50.0, math.inf, -math.inf]))
    assert run.best == (50.0, 10, 1.0)
    assert run.curves["val/top1"].values.tolist() == [50.0, math.inf, -math.inf]


def test_cost_counts_what_each_launch_had_and_no_queue(tmp_path):
    folder = journal(
        tmp_path,
        start(0, world_size=4),
        point(3600, 10, train__loss=2.0),
        end(7200, "REQUEUED"),
        start(90_000, step=10, world_size=2),
        point(93_600, 20, train__loss=1.0),
        end(93_600),
    )
    run = load_run(folder)
    assert run.wall_s == 3 * 3600
    assert run.gpu_hours == pytest.approx(4 * 2 + 2 * 1)
    assert run.worlds == (4, 2)
    assert run.seconds.values.tolist() == [3600, 3 * 3600]
    assert run.x_of("gpu_hours", np.array([0, 5, 10, 20])).tolist() == [0, 2, 4, 10]
    assert run.x_of("time", np.array([10, 15, 20])).tolist() == [1, 2, 3]


def test_an_earlier_journal_has_its_ranks_in_tags_that_follow_and_are_not_repeated(tmp_path):
    folder = journal(
        tmp_path,
        start(0),
        (0, {"kind": "tags", "step": 0, "tags": {"world_size": "8"}}),
        end(3600, "REQUEUED"),
        start(4000),
        end(7600, "REQUEUED"),
        start(8000),
        (8000, {"kind": "tags", "step": 0, "tags": {"world_size": "2"}}),
        point(11_600, 10, train__loss=1.0),
    )
    run = load_run(folder)
    assert run.worlds == (8, 8, 2)
    assert run.gpu_hours == pytest.approx(8 + 8 + 2)


def test_cost_is_unknown_without_ranks(tmp_path):
    run = load_run(journal(tmp_path, start(0), point(60, 10, train__loss=1.0)))
    assert (run.gpu_hours, run.worlds, run.wall_s) == (None, (), 60.0)
    assert np.isnan(run.x_of("gpu_hours", np.array([10]))).all()


def test_images_follow_from_the_batch(tmp_path):
    params = {"kind": "params", "step": 0, "params": {"train.global_batch": "64"}}
    run = load_run(journal(tmp_path, start(0), (0, params), point(60, 10, train__loss=1.0)))
    assert run.images == 640
    assert run.x_of("images", np.array([1, 10])).tolist() == [64, 640]


def test_a_torn_last_line_and_damaged_lines_are_named_once(runs):
    folder = runs.make("a", [50.0, 60.0])
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    nothing = b'{"kind":"metrics","t_ms":1,"step":15,"metrics":{"val/top1":null,"x":{}}}\n'
    damaged = [b'{"kind":"metr\n', b"[1]\n", b"\n", nothing]
    path.write_bytes(b"".join([*lines[:4], *damaged, *lines[4:]]) + b'{"kind":"metrics","t_m')
    run = load_run(folder)
    assert run.final_top1 == 60.0
    assert run.notes == (
        "a: skipped 4 damaged lines of its journal",
        "a: the last line of its journal is torn and was left out",
    )


def test_a_half_line_of_a_run_at_work_is_its_business(runs):
    folder = runs.make("a", [50.0], end=None)
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"kind":')
    assert load_run(folder).notes == ()


def test_two_broken_lines_never_make_one_whole_record(tmp_path):
    folder = journal(tmp_path, start(0))
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"kind":"metrics","t_ms":1,"step":1,"metrics":{"a":1\n"b":2}}\n')
    history = read_history(folder / "journal.jsonl")
    assert (history.damaged_lines, history.curves) == (2, {})


def test_kinds_of_later_versions_are_skipped(tmp_path):
    model = {"kind": "model", "step": 10, "model": {"folder": "checkpoints/step-00000010"}}
    run = load_run(journal(tmp_path, start(0), (1, model), (2, {"kind": "song", "step": 1})))
    assert (run.notes, run.has_metrics, run.wall_s) == ((), False, 2.0)


def test_the_first_write_of_a_step_counts(tmp_path):
    points = [point(s, step, train__loss=v) for s, step, v in ((1, 10, 3.0), (2, 5, 9.0))]
    again = point(3, 10, train__loss=7.0, val__top1=1.0)
    run = load_run(journal(tmp_path, start(0), *points, again))
    assert run.curves["train/loss"].steps.tolist() == [5, 10]
    assert run.curves["train/loss"].values.tolist() == [9.0, 3.0]


def test_the_settings_are_those_of_the_last_launch(runs):
    run = load_run(runs.make("a", tags={"latest.train.max_steps": "9"}))
    assert run.settings["train.max_steps"] == "9"


def test_settings_that_are_younger_than_a_run_have_their_defaults(runs):
    young, old = runs.make("young", [50.0]), runs.make("old", [50.0])
    text = (old / "journal.jsonl").read_text()
    for setting in ('"model.kernels":"auto",', '"engine.memory_format":"auto",'):
        assert setting in text
        text = text.replace(setting, "")
    (old / "journal.jsonl").write_text(text)
    found = load_runs([young, old])
    comparison = compare_runs(found)
    assert comparison.differing == {}
    [group] = comparison.groups
    assert [run.name for run in group.runs] == ["young", "old"]
    assert list(found[1].settings) == list(found[0].settings), "in the schema's order"


def test_a_run_without_any_settings_gets_none(tmp_path):
    assert load_run(journal(tmp_path, start(0), point(1, 10, train__loss=1.0))).settings == {}


def test_a_run_that_never_started_has_the_settings_of_its_file(runs):
    folder = runs.make("a", model={"freeze": ("stem.*",)})
    (folder / "journal.jsonl").unlink()
    run = load_run(folder)
    assert (run.status, run.settings["model.freeze"], run.has_metrics) == ("NEW", "[stem.*]", False)


def test_a_config_that_is_no_yaml_is_the_users_matter(runs):
    folder = runs.make("a")
    (folder / "journal.jsonl").unlink()
    (folder / "config.resolved.yaml").write_text("a: [")
    with pytest.raises(UserError, match="not valid YAML"):
        load_run(folder)


def test_a_journal_that_is_a_folder_is_named(runs):
    folder = runs.make("a")
    (folder / "journal.jsonl").unlink()
    (folder / "journal.jsonl").mkdir()
    with pytest.raises(UserError, match=r"run a: .*journal.jsonl: Is a directory"):
        load_run(folder)


def test_a_damaged_run_json_is_told(runs):
    folder = runs.make("a", [50.0])
    (folder / "run.json").write_text("{")
    run = load_run(folder)
    assert run.experiment == "imagenet"
    assert run.notes[0].startswith("a: its ids are unknown: ")


def test_runs_of_the_same_name_are_told_apart_by_their_paths(runs, tmp_path):
    first = runs.make("a", [50.0])
    (tmp_path / "other").mkdir()
    first.rename(tmp_path / "other" / "a")
    paths = [tmp_path / "other" / "a", runs.make("a", [60.0])]
    assert [run.name for run in load_runs(paths)] == [str(path) for path in paths]


def test_processes_read_the_same(seeds, monkeypatch):
    monkeypatch.setattr("pipeline.compare.reading.load._BYTES_FOR_PROCESSES", 1)
    paths = sorted(seeds.root.iterdir())
    alone, together = load_runs(paths), load_runs(paths, workers=2)
    assert [run.name for run in together] == [path.name for path in paths]
    for one, other in zip(alone, together, strict=True):
        assert one.best == other.best
        assert one.curves.keys() == other.curves.keys()
        for key, curve in one.curves.items():
            assert np.array_equal(curve.values, other.curves[key].values)


NUMBERS = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf])
METRICS = st.dictionaries(st.sampled_from(["train/loss", "val/top1", "perf/mfu"]), NUMBERS)


@settings(max_examples=50, deadline=None)
@given(st.lists(METRICS, max_size=12))
def test_every_value_that_the_journal_took_comes_back(tmp_path_factory, points):
    from pipeline.tracking.journal import Journal

    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    written = Journal(path)
    for step, metrics in enumerate(points, 1):
        written.metrics(metrics, step)
    written.close()
    curves = read_history(path).curves
    for key in ("train/loss", "val/top1", "perf/mfu"):
        expected = [(step, m[key]) for step, m in enumerate(points, 1) if key in m]
        if not expected:
            assert key not in curves
            continue
        assert curves[key].steps.tolist() == [step for step, _ in expected]
        assert np.array_equal(curves[key].values, [v for _, v in expected], equal_nan=True)
