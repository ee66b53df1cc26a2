"""Which runs are seeds of one config, and what a group's figures are made of."""

import math
from statistics import stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.compare import compare_runs, group_runs, load_runs
from pipeline.compare.judging.comparison import CODE, differing_settings
from pipeline.compare.judging.groups import repeats_of, spread
from pipeline.errors import UserError


def groups_of(runs):
    return group_runs(load_runs(sorted(runs.root.iterdir())))


def test_seeds_of_a_config_are_one_group_with_mean_and_sample_deviation(seeds):
    ident, pool = groups_of(seeds)
    assert (ident.label, pool.label) == ("ident", "pool")
    assert [run.name for run in pool.runs] == ["pool-s0", "pool-s1", "pool-s2"]
    assert pool.best_top1 is not None
    assert pool.best_top1.mean == pytest.approx(98.1)
    assert pool.best_top1.std == pytest.approx(stdev([98.0, 98.4, 97.9]))
    assert pool.best_top1.n == 3
    assert "seed" not in pool.settings
    assert pool.settings["model.metaformer.token_mixers"] == "pooling"


def test_names_places_and_other_free_settings_part_no_group(runs):
    runs.make("a", [50.0], seed=1, train={"max_steps": 9})
    runs.make("b", [51.0], seed=2, tracking={"every_steps": 7}, data={"root": "elsewhere"})
    (group,) = groups_of(runs)
    assert group.label == "a +1"


def test_other_data_or_another_setting_parts_groups(runs):
    runs.make("a", [50.0], seed=1)
    runs.make("b", [51.0], seed=2, digests={"train": "c" * 64, "validation": "b" * 64})
    runs.make("c", [52.0], seed=3, optim={"lr_base": 2e-3})
    runs.make("d", seed=4, digests={})
    runs.make("e", seed=5, digests={"validation": "b" * 64})
    assert [[r.name for r in g.runs] for g in groups_of(runs)] == [
        ["a", "d", "e"],
        ["b"],
        ["c"],
    ]


def test_one_seed_on_two_versions_of_the_code_is_a_comparison_of_the_code(runs):
    runs.make("before", [50.0])
    runs.make("after", [51.0], tags={"git_commit": "decade" * 6})
    runs.make("later-seed", [52.0], seed=7, tags={"git_commit": "decade" * 6})
    groups = groups_of(runs)
    assert [g.label for g in groups] == ["after +1", "before"]
    assert differing_settings(groups) == {CODE: ["decadedeca", "c0ffeec0ff"]}


def test_seeds_on_two_versions_of_the_code_stay_together(runs):
    runs.make("x-1", [50.0], seed=1)
    runs.make("x-2", [51.0], seed=2, tags={"git_commit": "decade" * 6})
    assert [group.label for group in groups_of(runs)] == ["x-1 +1"]


def test_copies_count_once_and_the_longest_of_them(runs):
    runs.make("a", [50.0])
    runs.make("b", [50.0, 60.0])
    runs.make("c", [70.0], seed=1)
    (group,) = groups_of(runs)
    assert [run.name for run in group.counted] == ["b", "c"]
    assert [[run.name for run in same] for same in repeats_of(group)] == [["a", "b"]]
    assert group.best_top1 == (65.0, pytest.approx(stdev([60, 70])), 2)


def test_the_mean_is_over_finished_runs_while_there_are_any(runs):
    runs.make("x-s1", [90.0], seed=1)
    runs.make("x-s2", [10.0], seed=2, end="FAILED")
    runs.make("y-s1", [20.0], seed=1, end="KILLED", optim={"lr_base": 1.0})
    runs.make("y-s2", [30.0], seed=2, end="KILLED", optim={"lr_base": 1.0})
    first, second = groups_of(runs)
    assert first.best_top1 == (90.0, None, 1)
    assert second.best_top1 is not None
    assert second.best_top1.n == 2


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (["pool-seed1", "pool-seed22"], "pool"),
        (["pool_s1", "pool_s2"], "pool"),
        (["pool", "pool-1"], "pool"),
        (["s12-1", "s12-2"], "s12"),
        (["x1", "x2"], "x1 +1"),
        (["left", "right", "up"], "left +2"),
    ],
)
def test_a_group_is_called_what_its_names_have_in_common(runs, names, label):
    for seed, name in enumerate(names):
        runs.make(name, [50.0], seed=seed)
    assert [group.label for group in groups_of(runs)] == [label]


def test_a_group_is_not_called_what_another_run_begins_with(runs):
    runs.make("run-1", [50.0], seed=1)
    runs.make("run-2", [50.0], seed=2)
    runs.make("run-3", [50.0], seed=3, optim={"lr_base": 1.0})
    assert [group.label for group in groups_of(runs)] == ["run-1 +1", "run-3"]


def test_of_settings_that_one_run_knows_the_younger_have_defaults_others_are_absent(runs):
    new, old = runs.make("new", data={"window_shards": 8}), runs.make("old")
    for folder in (new, old):
        (folder / "journal.jsonl").unlink()
    config = old / "config.resolved.yaml"
    kept = [line for line in config.read_text().splitlines() if "window_shards" not in line]
    config.write_text("\n".join([*kept, "setting_of_before: [1, 2.5]"]))
    assert differing_settings(group_runs(load_runs([new, old]))) == {
        "data.window_shards": ["8", "16"],
        "setting_of_before": ["–", "[1, 2.5]"],
    }


@given(st.lists(st.floats(0, 100) | st.none() | st.just(math.nan), max_size=8))
def test_a_spread_is_of_what_is_a_number(values):
    known = [value for value in values if value is not None and math.isfinite(value)]
    found = spread(values)
    if not known:
        assert found is None
        return
    assert found is not None
    assert found.n == len(known)
    assert found.mean == pytest.approx(np.mean(known), abs=1e-9)
    if len(known) > 1:
        assert found.std == pytest.approx(np.std(known, ddof=1), abs=1e-9)
    else:
        assert found.std is None


def test_the_baseline_is_a_run_or_a_group_or_the_first(seeds):
    loaded = load_runs(sorted(seeds.root.iterdir()))
    assert compare_runs(loaded).baseline == 0
    assert compare_runs(loaded, "pool").baseline == 1
    assert compare_runs(loaded, "pool-s2").baseline == 1
    with pytest.raises(UserError, match=r"--baseline 'pol': .*did you mean pool"):
        compare_runs(loaded, "pol")


def test_groups_are_ranked_by_their_best(seeds):
    seeds.make("none", optim={"lr_base": 1.0})
    comparison = compare_runs(load_runs(sorted(seeds.root.iterdir())))
    assert [comparison.groups[index].label for index in comparison.ranked()] == [
        "pool",
        "ident",
        "none",
    ]


def test_runs_without_a_common_metric_are_named_with_what_they_have(runs):
    from tests.compare.test_loading import journal, point, start

    runs.make("trained", [50.0])
    journal(runs.root.parent, start(0), point(1, 1, val__other=3.0))
    loaded = load_runs(sorted(runs.root.iterdir()))
    with pytest.raises(UserError, match="no metric in common") as caught:
        compare_runs(loaded)
    lines = str(caught.value).splitlines()
    assert lines[1:] == [
        "  a: val/other",
        "  trained: train/loss, val/loss, val/top1, val/top5",
    ]


def test_a_trial_that_stops_early_is_no_seed_beside_whole_trainings(runs):
    whole = {"train": {"epochs": 3}, "optim": {"warmup_epochs": 0, "cooldown_epochs": 0}}
    runs.make("a-s1", [10.0, 70.0, 76.0], seed=1, **whole)
    runs.make("a-s2", [10.0, 70.0, 76.2], seed=2, **whole)
    trial = {**whole, "train": {"epochs": 3, "max_steps": 10}}
    runs.make("a-s3", [5.0], seed=3, **trial)
    (group,) = groups_of(runs)
    assert [run.name for run in group.counted] == ["a-s1", "a-s2"]
    assert group.best_top1 == pytest.approx((76.1, stdev([76.0, 76.2]), 2))
    assert any("a-s3" in text and "not in the mean" in text for text in compared(runs).warnings)


def test_trials_count_among_themselves_until_another_goes_further(runs):
    trial = {"train": {"epochs": 300, "max_steps": 20}}
    runs.make("a-s1", [10.0, 20.0], seed=1, **trial)
    runs.make("a-s2", [10.0], seed=2, end="KILLED", **trial)
    (group,) = groups_of(runs)
    assert [run.name for run in group.counted] == ["a-s1"]
    runs.make("a-s3", [10.0, 20.0, 30.0], seed=3, end=None)
    (group,) = groups_of(runs)
    assert [run.name for run in group.counted] == ["a-s1", "a-s2", "a-s3"]


def test_runs_that_have_no_settings_yet_are_no_copies(runs):
    runs.make("a", [50.0])
    for name in ("waits", "waits-too"):
        folder = runs.root / name
        folder.mkdir()
        (folder / "jobs.jsonl").write_text("")
    assert [group.label for group in groups_of(runs)] == ["a", "waits", "waits-too"]
    assert not any("copies" in text for text in compared(runs).warnings)


def compared(runs):
    return compare_runs(load_runs(sorted(runs.root.iterdir())))
