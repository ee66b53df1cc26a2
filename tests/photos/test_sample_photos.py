"""Real ImageNet photographs, where SAMPLE_PHOTOS names a folder of wnid folders."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = os.environ.get("SAMPLE_PHOTOS", "")


@pytest.mark.skipif(not PHOTOS, reason="SAMPLE_PHOTOS names no folder of real ImageNet JPEGs")
def test_poolformer_s12_learns_on_real_photographs(command: Callable, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        done = command("data_prep/shard.py", PHOTOS, tmp_path / "shards", "--split", split)
        assert done.returncode == 0, done.stderr
    classes = len([path for path in Path(PHOTOS).iterdir() if path.is_dir()])
    done = command(
        ROOT / "slurm/launch.py",
        "--cluster",
        "local",
        "--tasks-per-node",
        "2",
        ROOT / "configs/s12.yaml",
        "name=photos",
        f"runs_root={tmp_path / 'runs'}",
        f"data.root={tmp_path / 'shards'}",
        "device=cpu",
        "model.name=poolformer_s12",
        f"model.num_classes={classes}",
        "model.drop_path=0.0",
        "augment.img_size=64",
        "augment.smoothing=0.0",
        "augment.scale=[0.9, 1.0]",
        "train.global_batch=64",
        "train.micro_batch=32",
        "train.max_steps=15",
        "engine.dtype=fp32",
        "optim.warmup_epochs=0",
        "optim.lr_base_size=64",
        "tracking.every_steps=3",
        "tracking.uri=journal",
    )
    assert done.returncode == 0, done.stderr
    losses = [
        record["metrics"]["train/loss"]
        for record in map(
            json.loads, (tmp_path / "runs/photos/journal.jsonl").read_text().splitlines()
        )
        if record["kind"] == "metrics" and "train/loss" in record["metrics"]
    ]
    # Four passes over the photographs: it must have learnt some of them by heart.
    assert len(losses) == 5 and losses[-1] < losses[0] - 0.3, losses
