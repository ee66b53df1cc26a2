"""Fixtures of all tests: small digits, their shards, and commands as a user runs them."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pynvml
import pytest
from PIL import Image

from tests.dist.nursery import Nursery

ROOT = Path(__file__).resolve().parents[1]
# One thread per process: several ranks share two cores, and sums must not depend on the machine.
os.environ.update(OMP_NUM_THREADS="1", DS_ACCELERATOR="cpu", NO_COLOR="1")
# Ctrl-C is tested too; of what a script starts in its background it is ignored, down to children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    pynvml.nvmlInit()
except pynvml.NVMLError:
    # Read when Triton is imported: without a GPU its kernels are tested by its interpreter.
    os.environ.setdefault("TRITON_INTERPRET", "1")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def command() -> Command:
    """Run ``python ARGS`` in the checkout (or ``cwd``); returns code, stdout and stderr."""

    def run(
        *args: object, cwd: Path = ROOT, timeout_s: float = 240, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
        words = [sys.executable, *map(str, args)]
        return subprocess.run(
            words, cwd=cwd, env=environment, text=True, capture_output=True, timeout=timeout_s
        )

    return run


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Several ranks on this machine, without the seconds that their imports take."""
    with Nursery() as started:
        yield started


@pytest.fixture(scope="session")
def digit_shards(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """The demo's shards: 1,442 + 355 images of 64 px."""
    folder = tmp_path_factory.mktemp("digits")
    for args in (
        ("data_prep/digits.py", folder / "digits"),
        ("data_prep/shard.py", folder / "digits", folder / "shards", "--workers", "1"),
    ):
        done = command(*args)
        assert done.returncode == 0, done.stderr
    return folder / "shards"


@pytest.fixture(scope="session")
def damaged_shards(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """Three classes of twelve images each; 5, 11 and 12 of all are cut off behind their headers."""
    folder = tmp_path_factory.mktemp("damaged")
    rng = np.random.default_rng(0)
    for number in range(36):
        coarse = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((90, 70)).save(file, "JPEG", quality=95)
        data = file.getvalue()
        if number in (5, 11, 12):
            data = data[: len(data) // 2]
        for split in ("train", "val"):
            path = folder / "images" / split / f"class{number % 3}" / f"image{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    done = command("data_prep/shard.py", folder / "images", folder / "shards", "--check", "header")
    assert done.returncode == 0, done.stderr
    return folder / "shards"


@pytest.fixture(scope="session")
def trained_run(
    digit_shards: Path, tmp_path_factory: pytest.TempPathFactory, command: Command
) -> Path:
    """A small PoolFormer after three epochs of digits, 70 % right: evaluated at steps 48 and 72."""
    runs = tmp_path_factory.mktemp("trained")
    settings = (
        f"name=digits data.root={digit_shards} runs_root={runs} tracking.uri=journal "
        "train.max_steps=72 train.epochs=4 train.global_batch=60 train.micro_batch=60 "
        "model.metaformer.depths=[1,1] model.metaformer.dims=[24,48] "
        "model.metaformer.layer_scale_init=1.0 optim.lr_base=1e-2 optim.warmup_epochs=1 "
        "augment.img_size=32 engine.dtype=fp32 evaluate.batch_size=100 evaluate.every_epochs=2"
    )
    done = command("-m", "pipeline.train", ROOT / "configs/digits.yaml", *settings.split())
    assert done.returncode == 0, done.stderr
    return runs / "digits"
