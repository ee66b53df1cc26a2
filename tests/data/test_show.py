"""The drawn batch is the one that the model gets, with its labels and shares."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import torch
from PIL import Image

from pipeline.data.batches import MicroBatch
from pipeline.data.show import caption, draw_grid, shares


def test_captions() -> None:
    names = ["cat", "dog", "owl"]
    assert caption(np.array([0.0, 1.0, 0.0]), names) == "dog"
    assert caption(np.array([0.3, 0.0, 0.7]), names) == "owl 0.70 + cat 0.30"


def test_the_share_of_a_label_takes_no_table_of_all_classes() -> None:
    batch = SimpleNamespace(targets=torch.tensor([2, 999_999]))
    rows = shares(cast(MicroBatch, batch), 1_000_000)
    assert np.argwhere(rows == 1).tolist() == [[0, 2], [1, 999_999]]
    assert rows.sum() == 2


def test_grid_holds_every_image() -> None:
    pixels = np.stack([np.full((20, 20, 3), 10 * n, np.uint8) for n in range(7)])
    sheet = np.asarray(draw_grid(pixels, [f"class {n}" for n in range(7)], "title"))
    for n in range(1, 7):
        assert (sheet == 10 * n).all(axis=2).sum() >= 350


def test_command(command: Callable, digit_shards: Path, tmp_path: Path) -> None:
    base = ("-m", "pipeline.data.show", "configs/digits.yaml", f"data.root={digit_shards}")
    done = command(*base, "augment.mixup=0.8", "--out", tmp_path / "grid.png", "--images", "8")
    assert done.returncode == 0 and "micro-batch 0: mixup, lambda 0." in done.stderr
    with Image.open(tmp_path / "grid.png") as sheet:
        assert sheet.size[0] > 4 * 48
    for arguments, part in (
        (("--micro-batch", "2"), "--micro-batch 2: there are 2, counted from 0"),
        (("--out", tmp_path / "missing/grid.png"), "there is no folder"),
        (("--out", tmp_path / "grid.docx"), "unknown file extension"),
        (("augment.aa=augmix-m3",), "not 'augmix'"),
    ):
        done = command(*base, *arguments)
        assert done.returncode == 2 and part in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
