"""Numbers that go wrong: skipped and named, taken back after a window, the end after too many."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.config import read_resolved
from pipeline.data.order import make_order
from pipeline.shards import open_split
from tests.dist.nursery import Nursery
from tests.dist.small_training import small_training

SETTINGS = [
    *("train.max_steps=16", "tracking.every_steps=1", "checkpoint.every_steps=2"),
    *("checkpoint.keep_last=20", "engine.max_skipped_steps=3", "engine.max_rollbacks=1"),
]
Ended = tuple[Path, list[int], str]


@pytest.fixture(scope="module")
def train(
    nursery: Nursery, digit_shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Ended]:
    """Train with bad numbers in some steps (1-based); the run, exit codes and stderr."""
    runs = tmp_path_factory.mktemp("runs")

    def run(name: str, spoilt: str, *overrides: str, world: int = 1) -> Ended:
        args = small_training(name, runs, digit_shards, *SETTINGS, *overrides)
        ended = nursery.run(world, "tests.dist.spoilt_training", *args, env={"SPOILT": spoilt})
        return runs / name, [r.code for r in ended], "".join(r.stderr for r in ended)

    return run


def progress_at(run: Path, step: int) -> dict:
    return json.loads((run / f"checkpoints/step-{step:08d}/progress.json").read_text())


def state_at(run: Path, step: int) -> dict[str, torch.Tensor]:
    folder = run / f"checkpoints/step-{step:08d}"
    return {k: v for file in folder.glob("state-*") for k, v in load_file(file).items()}


def records(run: Path, kind: str) -> list[dict]:
    lines = map(json.loads, (run / "journal.jsonl").read_text().splitlines())
    return [record for record in lines if record["kind"] == kind]


def test_one_bad_step_is_skipped_and_names_its_sample(train: Callable) -> None:
    run, codes, stderr = train("one", "5", world=2)
    assert codes == [0, 0], stderr
    config = read_resolved(run / "config.resolved.yaml")
    split = open_split(config.data.root, "train")
    ids = make_order(config, split.shard_lengths).micro_batch_ids(0, 4, 1)
    named = "step 5 is skipped, its gradients are not finite: micro-batch 1 (its loss is nan"
    assert stderr.count(named) == 1, stderr
    assert f"bad samples {ids[7]}\n" in stderr
    tags = [r["tags"] for r in records(run, "tags") if "skipped_steps/latest" in r["tags"]]
    assert len(tags) == 1 and tags[0]["skipped_steps/latest"].startswith("step 5: micro-batch 1")
    end = progress_at(run, 16)
    assert (end["step"], end["updates"], end["skipped_steps"]) == (16, 15, 1)
    assert end["rolled_back"] == []


@pytest.fixture(scope="module")
def window(train: Callable) -> Ended:
    return train("window", "8,9,10")


def test_a_bad_window_takes_the_weights_back_and_goes_on_behind_it(
    window: Ended,
) -> None:
    run, codes, stderr = window
    assert codes == [0], stderr
    assert (
        "steps 8 to 10: 3 in a row had inf or NaN gradients (engine.max_skipped_steps=3): back to "
        "the weights of step 6; steps and data go on behind step 10" in stderr
    )
    before, after = state_at(run, 6), state_at(run, 10)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    at = progress_at(run, 10)
    assert (at["updates"], at["rolled_back"], at["skipped_in_a_row"]) == (6, [[7, 10]], 0)
    end = progress_at(run, 16)
    assert (end["updates"], end["rolled_back"]) == (12, [[7, 10]])
    steps = [r["step"] for r in records(run, "metrics") if "train/lr" in r["metrics"]]
    assert steps == list(range(1, 17)), "every step once"
    tags = [r["tags"] for r in records(run, "tags") if "rolled_back" in r["tags"]]
    assert [t["rolled_back"] for t in tags] == ["7-10"]


def test_resumed_within_a_bad_window_it_ends_alike(train: Callable, window: Ended) -> None:
    """The first part stops in the middle of the window; a checkpoint knows of the steps so far."""
    run, codes, stderr = train("parts", "8,9,10", "train.max_steps=9")
    assert codes == [0], stderr
    assert progress_at(run, 9)["skipped_in_a_row"] == 2
    run, codes, stderr = train("parts", "8,9,10")
    assert codes == [0] and "back to the weights of step 6" in stderr, stderr
    ours, theirs = state_at(run, 16), state_at(window[0], 16)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_too_many_windows_end_the_run(train: Callable) -> None:
    run, codes, stderr = train("twice", "4,5,6,11,12,13")
    assert codes == [5], stderr
    assert (
        "error: steps 11 to 13: 3 in a row had inf or NaN gradients (engine.max_skipped_steps=3), "
        "after as many returns to a checkpoint as engine.max_rollbacks=1 allows; lower "
        "optim.lr_base" in stderr
    )
    assert "Traceback" not in stderr
    assert records(run, "end")[-1]["status"] == "FAILED"


def test_a_window_before_the_first_checkpoint_ends_the_run(train: Callable) -> None:
    _, codes, stderr = train("early", "1,2,3", "checkpoint.every_steps=null")
    assert codes == [5], stderr
    assert "there is no checkpoint to return to" in stderr
