"""The one plain sentence under the tables."""

import re

import pytest

from pipeline.compare import compare_runs, load_runs
from pipeline.compare.text.verdict import verdict


def compared(runs):
    return compare_runs(load_runs(sorted(runs.root.iterdir())), None)


@pytest.mark.parametrize(
    ("second", "settings", "sentence"),
    [
        (
            [98.6],
            {"augment": {"mixup": 0.0}},
            "b leads by +1.40 points of top-1 (98.60 vs 97.20); n = 1 each, no test: may be noise; "
            "at the same cost (0.0167 GPU-hours).",
        ),
        (
            [97.0, 96.0],
            {"augment": {"mixup": 0.0}, "end": "KILLED"},
            "a leads by +0.20 points of top-1 (97.20 vs 97.00); n = 1 each, no test: may be noise; "
            "at 0.5 times the cost (0.0167 vs 0.0333 GPU-hours); b is KILLED.",
        ),
        (
            [97.2],
            {"augment": {"mixup": 0.0}},
            "a and b are level in top-1 (97.20 vs 97.20); n = 1 each, no test: may be noise; at "
            "the same cost (0.0167 GPU-hours).",
        ),
        (
            [],
            {"end": "FAILED", "augment": {"mixup": 0.0}},
            "a: best top-1 97.20 at step 10 (epoch 1), n = 1; no val/top1 yet: b.",
        ),
        ([97.4], {"seed": 7}, "a +1: best top-1 97.30 ± 0.14 over 2 seeds."),
    ],
)
def test_the_sentence(runs, second, settings, sentence):
    runs.make("a", [97.2])
    runs.make("b", second, **settings)
    assert verdict(compared(runs)) == sentence


def test_the_sentence_of_groups_names_test_and_runner_up(seeds):
    seeds.make("worst", [1.0], optim={"lr_base": 1.0})
    assert re.fullmatch(
        r"pool leads by \+3\.00 points of top-1 over ident \(98\.10 ± 0\.26, n = 3 vs "
        r"95\.10 ± 0\.40, n = 3\); more than noise \(Welch's t-test: p = 0\.00\d+, n = 3\); "
        r"at the same cost \(0\.0333 GPU-hours\)\.",
        verdict(compared(seeds)),
    )


def test_the_sentence_of_nothing(runs):
    runs.make("a")
    assert verdict(compared(runs)) == "No val/top1 yet: a."
