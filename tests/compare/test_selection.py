"""Which runs a command line means."""

import json

import pytest

from pipeline.compare.reading.selection import Wanted, select_runs
from pipeline.errors import UserError


@pytest.fixture
def select(runs):
    def select(*names, **options):
        found = select_runs(Wanted(runs=names, runs_root=runs.root, **options))
        return [run.name for run in found]

    return select


@pytest.fixture
def sweep(runs):
    for name, experiment, seed in (("s12-a", "imagenet", 1), ("s12-b", "imagenet", 2)):
        runs.make(name, [50.0 + seed], seed=seed, experiment=experiment, tags={"team": "red"})
    runs.make("m48", [80.0], experiment="big", tags={"team": "blue"})
    runs.make("trial", [3.0], experiment="trials", end="KILLED")
    return runs


def ids_of(runs, name):
    path = runs.root / name / "run.json"
    return json.loads(path.read_text())


def test_all_without_a_word_and_says_how_many(sweep, select, capsys):
    assert select() == ["m48", "s12-a", "s12-b", "trial"]
    assert capsys.readouterr().err == f"all 4 runs under {sweep.root}\n"


def test_names_folders_and_patterns_keep_their_order_and_count_once(sweep, select):
    assert select("trial", "s12-*", "s12-a") == ["trial", "s12-a", "s12-b"]
    assert select(str(sweep.root / "m48"), "m48") == ["m48"]


def test_ids_and_their_beginnings(sweep, select):
    info = sweep.root / "m48" / "run.json"
    info.write_text(json.dumps(ids_of(sweep, "m48") | {"mlflow_run_id": "feedbeef" * 4}))
    assert select("feedbe") == ["m48"]
    assert select("feedbeef" * 4) == ["m48"]
    assert select(ids_of(sweep, "s12-b")["run_key"]) == ["s12-b"]
    other = sweep.root / "trial" / "run.json"
    other.write_text(json.dumps(ids_of(sweep, "trial") | {"mlflow_run_id": "feedbe00" * 4}))
    with pytest.raises(UserError, match="the ids of m48, trial begin so"):
        select("feedbe")
    with pytest.raises(UserError, match="run 'feedb': no run folder"):
        select("feedb")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"experiment": "imagenet"}, "s12-a s12-b"),
        ({"tags": ("team=red",)}, "s12-a s12-b"),
        ({"tags": ("team=red", "git_dirty=false"), "filter": "seed=2"}, "s12-b"),
        ({"filter": "best_top1>51.5"}, "m48 s12-b"),
        ({"filter": "best_top1>79", "baseline": "s12-a"}, "m48 s12-a"),
        ({"experiment": "imagenet", "baseline": "m48"}, "s12-a s12-b m48"),
    ],
)
def test_options_narrow_and_the_baseline_stays(sweep, select, options, names):
    assert select(**options) == names.split()


def test_a_baseline_joins_the_runs_that_are_named(sweep, select):
    assert select("s12-a", baseline="m48") == ["s12-a", "m48"]


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["s12-c"], {}, "run 's12-c': no run folder of this name under .*; did you mean s12-"),
        (["s13*"], {}, r"run 's13\*': no run's name is like it; did you mean s12-"),
        ([], {"experiment": "imagnet"}, "--experiment 'imagnet': .*; did you mean imagenet"),
        ([], {"experiment": "x"}, "there are big, imagenet, trials"),
        ([], {"experiment": "trials"}, r"none of its 1 runs has finished \(1 KILLED\)"),
        ([], {"tags": ("team",)}, "--tag 'team': write KEY=VALUE"),
        ([], {"tags": ("taem=red",)}, "no run has a tag 'taem'; did you mean team"),
        ([], {"tags": ("team=green",)}, "--tag team=green: holds for none of the 4 runs"),
        ([], {"filter": "seed>5 and seed<7"}, "holds for none of the 4 runs"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(sweep, select, names, options, message):
    with pytest.raises(UserError, match=message):
        select(*names, **options)


def test_an_unfinished_experiment_may_be_asked_for(sweep, select):
    assert select(experiment="trials", filter="status=KILLED") == ["trial"]
    assert select("trial", experiment="trials") == ["trial"]


def test_no_runs_at_all(select):
    with pytest.raises(UserError, match=r"no runs under .*; train first"):
        select()
