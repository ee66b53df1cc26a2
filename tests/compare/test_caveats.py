"""The warnings: each names the runs and says what it means; a fair comparison has none."""

import pytest

from pipeline.compare import compare_runs, load_runs
from pipeline.compare.judging.caveats import world_text


def warnings_of(runs):
    return compare_runs(load_runs(sorted(runs.root.iterdir()))).warnings


def test_a_fair_comparison_has_none(seeds):
    assert warnings_of(seeds) == []


OTHER = {"train": "a" * 64, "validation": "c" * 64}


@pytest.mark.parametrize(
    ("facts", "warning"),
    [
        (
            {"digests": {"train": "d" * 64, "validation": "b" * 64}},
            "training data differs (a: digits-train aaaaaaaaaa; b: digits-train dddddddddd): they "
            "have learned from different images",
        ),
        (
            {"digests": OTHER},
            "validation data differs (a: digits-validation bbbbbbbbbb; b: digits-validation "
            "cccccccccc): scores of different images do not compare",
        ),
        (
            {"tags": {"git_commit": "decade" * 6}},
            "code differs (a: c0ffeec0ff; b: decadedeca): part of a gap may come from it",
        ),
        (
            {"world": 8},
            "ranks differ (a: 1; b: 8): same training by design; speed is not comparable",
        ),
        (
            {"evaluate": {"crop_pct": 0.95}},
            "the evaluation differs, evaluate.crop_pct (a: 0.9; b: 0.95): part of a gap may come "
            "from it",
        ),
        (
            {"engine": {"zero_stage": 2}},
            "engine.zero_stage differs (a: 1; b: 2): same training, but perhaps not its speed or "
            "length",
        ),
        (
            {"top1": [50.0]},
            "epochs done differ (a: 2; b: 1): the shorter ones may still have improved",
        ),
    ],
)
def test_what_differs_is_one_line(runs, facts, warning):
    runs.make("a", [50.0, 51.0])
    values = {"top1": [50.0, 52.0], **facts}
    runs.make("b", values.pop("top1"), optim={"lr_base": 2e-3}, **values)
    assert warnings_of(runs) == [warning]


def test_versions_that_differ(runs):
    runs.make("a", [50.0], tags={"torch_version": "2.8", "timm_version": "1"})
    runs.make("b", [50.0], tags={"torch_version": "2.9", "timm_version": "1"}, seed=1)
    assert warnings_of(runs) == ["torch differs (a: 2.8; b: 2.9): the last digits may, and speed"]


def test_other_kernels_are_said_and_none_are_torch(runs):
    runs.make("a", [50.0], tags={"kernels": "triton"})
    runs.make("b", [50.0], seed=1)
    said = "kernels differ (a: triton; b: torch): the last digits may, and speed"
    assert warnings_of(runs) == [said]


def test_no_record_of_kernels_is_torch(runs):
    runs.make("a", [50.0], tags={"kernels": "torch"})
    runs.make("b", [50.0], seed=1)
    assert warnings_of(runs) == []


def test_uncommitted_changes_are_told_even_where_all_have_them(runs):
    for seed, name in enumerate("ab"):
        runs.make(name, [50.0], seed=seed, tags={"git_dirty": "true"})
    assert warnings_of(runs) == [
        "a and b: ran code with uncommitted changes, unknown to its commit"
    ]


def test_copies_and_runs_left_out_of_a_mean(runs):
    runs.make("a", [50.0])
    runs.make("b", [50.0])
    runs.make("c", [50.0], seed=1, end="KILLED")
    assert warnings_of(runs) == [
        "same config and same seed: a and b (seed 42); training is deterministic, so these are "
        "copies and count once",
        "c (KILLED, epoch 1 of 310): not in the mean of a +2",
    ]


def test_what_was_noted_while_reading_comes_last(runs):
    folder = runs.make("a", [50.0])
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(b"nonsense\n")
    assert warnings_of(runs) == ["a: skipped 1 damaged line of its journal"]


def test_many_runs_and_values_are_cut_short(runs):
    for index in range(8):
        runs.make(f"r{index}", [50.0], seed=index, world=1 + index % 6)
    (warning,) = warnings_of(runs)
    assert warning.startswith("ranks differ (r0 and r6: 1; r1 and r7: 2; r2: 3; r3: 4; 2 more)")


def test_ranks_over_time_in_few_words(runs):
    from dataclasses import replace

    (run,) = load_runs([runs.make("a", [50.0])])
    for worlds, text in (
        ((8, 8, 8), "8"),
        ((8, 4, 4, 8), "8, then 4, then 8"),
        ((1, 2, 3, 4, 5), "1, then 2, then 3, then … 5"),
        ((), None),
    ):
        assert world_text(replace(run, worlds=worlds)) == text
