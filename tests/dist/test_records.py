"""What a run leaves for those who compare it, after a launch on one rank and one on three."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.checkpoint.folder import find_checkpoint
from pipeline.config import read_resolved
from pipeline.evaluate.csv_text import classes_csv, confusions_csv
from pipeline.evaluate.evaluation import evaluate_model
from pipeline.inference.trained import Trained
from pipeline.shards import open_split
from pipeline.tracking.journal import Record, read_journal
from pipeline.tracking.run_folder import RunFolder
from pipeline.tracking.session import data_digest
from tests.dist.nursery import Nursery
from tests.dist.small_training import small_training

SETTINGS = (
    "train.micro_batch=45",
    "augment.mixup=0.8",
    "optim.model_ema_decay=0.5",
    "optim.clip_grad=1.0",
    "optim.lr_base=1e-2",
    "optim.warmup_epochs=0",
    "evaluate.batch_size=50",
    "tracking.every_steps=3",
    "tracking.system_every_s=0.2",
    "checkpoint.keep_last=5",
)
CHANGED_AT = 10


@pytest.fixture(scope="module")
def folder(
    digit_shards: Path, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """Evaluated and saved at steps 8, where no interval of the journal ends, 10 and 14."""
    runs = tmp_path_factory.mktemp("recorded")
    args = small_training("recorded", runs, digit_shards, *SETTINGS)
    nursery.results(1, "pipeline.train", *args, f"train.max_steps={CHANGED_AT}")
    nursery.results(3, "pipeline.train", *args)
    return RunFolder(runs / "recorded")


@pytest.fixture(scope="module")
def records(folder: RunFolder) -> list[Record]:
    return read_journal(folder.journal).records


def of_kind(records: list[Record], kind: str) -> list[Record]:
    return [record for record in records if record["kind"] == kind]


def test_at_most_25_metrics_and_six_of_the_node(records: list[Record]) -> None:
    ours = {key for record in of_kind(records, "metrics") for key in record["metrics"]}
    assert {"val/ema_top1", "train/grad_norm", "perf/img_per_s", "train/loss"} <= ours
    assert len(ours) <= 25
    assert {key.partition("/")[0] for key in ours} == {"train", "val", "perf", "progress"}
    nodes = {key for record in of_kind(records, "system") for key in record["metrics"]}
    assert 3 <= len(nodes) <= 6


def test_every_journaled_step_can_be_drawn_against_every_axis(records: list[Record]) -> None:
    metrics = {record["step"]: record["metrics"] for record in of_kind(records, "metrics")}
    assert sorted(metrics) == [3, 6, 8, 9, 10, 12, 14]
    assert "train/lr" not in metrics[8], "an evaluation alone is a case of its own"
    assert [metrics[step]["progress/epoch"] for step in metrics] == [s / 8 for s in metrics]
    assert [metrics[step]["progress/images"] for step in metrics] == [180.0 * s for s in metrics]
    hours = [metrics[step]["progress/gpu_hours"] for step in metrics]
    assert hours == sorted(hours) and hours[0] > 0


def test_gpu_hours_are_those_of_all_ranks_of_all_launches(records: list[Record]) -> None:
    first, second = of_kind(records, "start")
    end, _ = of_kind(records, "end")
    last = of_kind(records, "metrics")[-1]
    expected_ms = (end["t_ms"] - first["t_ms"]) + 3 * (last["t_ms"] - second["t_ms"])
    assert 3_600_000 * last["metrics"]["progress/gpu_hours"] == pytest.approx(expected_ms, rel=0.05)


def test_starts_and_tags_say_where_it_ran(records: list[Record], digit_shards: Path) -> None:
    starts = of_kind(records, "start")
    assert [(start["world_size"], start["device"]) for start in starts] == [(1, "cpu"), (3, "cpu")]
    assert [len(start["nodes"]) for start in starts] == [1, 1], "three ranks on one node"
    tags: dict[str, str] = {}
    for record in of_kind(records, "tags"):
        tags |= record["tags"]
    assert tags["world_sizes"] == f"1 from step 0, 3 from step {CHANGED_AT}"
    assert (tags["launches"], tags["requeues"], tags["seed"]) == ("2", "0", "42")
    assert tags["node_list"] == tags["host"] == starts[0]["nodes"][0]
    splits = [open_split(digit_shards, split) for split in ("train", "validation")]
    assert tags["data_digest"] == data_digest(splits) != data_digest(splits[::-1])
    assert tags["launch_command"].startswith("python -m pipeline.train ")


def test_best_checkpoints_have_a_record_each(records: list[Record], folder: RunFolder) -> None:
    top1 = {
        record["step"]: record["metrics"]["val/ema_top1"]
        for record in of_kind(records, "metrics")
        if "val/ema_top1" in record["metrics"]
    }
    assert sorted(top1) == [8, 10, 14]
    best = [s for s in top1 if top1[s] > max((top1[b] for b in top1 if b < s), default=0.0)]
    models = of_kind(records, "model")
    assert [record["step"] for record in models] == best
    for record in models:
        place = records.index(record)
        [evaluation] = [
            r for r in of_kind(records[:place], "metrics") if r["step"] == record["step"]
        ]
        model = record["model"]
        assert model["metrics"] == {
            key: value for key, value in evaluation["metrics"].items() if key.startswith("val/")
        }
        assert model["epoch"] == record["step"] / 8
        assert model["dataset"] == "digits-validation"
        assert (folder.path / model["folder"] / "COMMITTED").is_file()
        progress = json.loads((folder.path / model["folder"] / "progress.json").read_text())
        assert model["metrics"]["val/ema_top1"] == progress["best_top1"]


@pytest.mark.parametrize("which", ["best", "last"])
def test_the_tables_are_those_of_the_evaluate_command(folder: RunFolder, which: str) -> None:
    """Eight batches on three ranks, of the moving average, against one process afterwards."""
    config = read_resolved(folder.config)
    checkpoint = find_checkpoint(folder.checkpoints, which)
    split = open_split(config.data.root, config.data.val_split)
    found = evaluate_model(Trained(config, checkpoint, folder, split.classes), split)
    place = folder.artifacts / ("last" if which == "last" else "")
    confusions = (place / "confusions.csv").read_bytes().decode()
    assert confusions == confusions_csv(found.confusions, most=1000)
    assert (place / "classes.csv").read_bytes().decode() == classes_csv(found.classes)
    counts = [int(row["images"]) for row in csv.DictReader(confusions.splitlines())]
    assert counts == sorted(counts, reverse=True)
    assert 0 < len(counts) < 90
    assert 100 * (355 - sum(counts)) / 355 == pytest.approx(found.scores.top1)


def test_the_sheet_shows_the_first_batch_on_any_world(
    folder: RunFolder, nursery: Nursery, digit_shards: Path, tmp_path: Path
) -> None:
    with Image.open(folder.artifacts / "batch.png") as file:
        sheet = np.asarray(file)
    # 32 images of 48 pixels, mixed: many of their pixels are grey.
    assert sheet.shape[0] * sheet.shape[1] > 32 * 48 * 48
    assert ((sheet > 0) & (sheet < 255)).all(axis=2).sum() > 32 * 48 * 48 / 3
    args = small_training("other", tmp_path, digit_shards, *SETTINGS, "train.max_steps=1")
    nursery.results(3, "pipeline.train", *args)
    with Image.open(tmp_path / "other/artifacts/batch.png") as file:
        other = np.asarray(file)
    # The title has the run's name; below it all is the same.
    assert np.array_equal(sheet[30:, :450], other[30:, :450])
