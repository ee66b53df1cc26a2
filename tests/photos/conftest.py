"""A small training on real photographs, where SAMPLE_PHOTOS names a folder of wnid folders."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OVERRIDES = [
    "device=cpu",
    "model.name=poolformer_s12",
    "model.drop_path=0.0",
    "augment.img_size=64",
    "augment.smoothing=0.0",
    "augment.scale=[0.9, 1.0]",
    "augment.aa=null",
    "augment.mixup=0.0",
    "augment.cutmix=0.0",
    "augment.reprob=0.0",
    "train.global_batch=50",
    "train.micro_batch=25",
    "train.max_steps=20",
    "engine.dtype=fp32",
    "optim.warmup_epochs=0",
    "optim.lr_base_size=50",
    "tracking.every_steps=4",
    "tracking.uri=journal",
]
"""Ten passes over half of the photographs, in two ranks."""


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of photographs; skips where there is none."""
    if not os.environ.get("SAMPLE_PHOTOS"):
        pytest.skip("SAMPLE_PHOTOS names no folder of real ImageNet JPEGs")
    return Path(os.environ["SAMPLE_PHOTOS"])


@pytest.fixture(scope="session")
def photo_run(
    photos: Path, command: Callable, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """The run folder, and the overrides of its config."""
    folder = tmp_path_factory.mktemp("photos")
    classes = sorted(path.name for path in photos.iterdir() if path.is_dir())
    (folder / "classes.txt").write_text("\n".join(classes) + "\n")
    for name in classes[::2]:
        shutil.copytree(photos / name, folder / "half" / name)
    for split, source in (("train", folder / "half"), ("validation", photos)):
        done = command(
            "data_prep/shard.py",
            source,
            folder / "shards",
            *("--split", split, "--classes", folder / "classes.txt"),
        )
        assert done.returncode == 0, done.stderr
    overrides = [
        *OVERRIDES,
        "name=photos",
        f"runs_root={folder / 'runs'}",
        f"data.root={folder / 'shards'}",
        f"model.num_classes={len(classes)}",
    ]
    launch = (ROOT / "slurm/launch.py", "--cluster", "local", "--tasks-per-node", "2")
    done = command(*launch, ROOT / "configs/s12.yaml", *overrides)
    assert done.returncode == 0, done.stderr
    return folder / "runs/photos", overrides
