"""Other programs read the folder as it is."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.shards import open_split

leaves_files_open = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
"""webdataset closes its tars only when they are collected, which must be within the test."""


@pytest.fixture
def out(pets: Path, tmp_path: Path, shard: Callable[..., Any]) -> Path:
    ran = shard(
        pets, tmp_path / "out", "--samples-per-shard", 5, "--check", "header", "--workers", 1
    )
    assert ran.code == 0, ran.err
    return tmp_path / "out"


@leaves_files_open
def test_webdataset_reads_it(out: Path) -> None:
    wds = pytest.importorskip("webdataset")
    tars = [str(tar) for tar in sorted(out.glob("pets-train-*.tar"))]
    samples = list(wds.WebDataset(tars, shardshuffle=False))
    opened = open_split(out, "train")
    assert [sample["__key__"] for sample in samples] == [opened.name(i)[0] for i in range(21)]
    labels = opened.labels(np.arange(21))
    for i, sample in enumerate(samples):
        assert sample["jpg"] == opened.read(i).tobytes()
        assert int(sample["cls"]) == labels[i]
    gc.collect()


@leaves_files_open
def test_timm_reads_it(out: Path) -> None:
    pytest.importorskip("webdataset")
    create_dataset = pytest.importorskip("timm.data").create_dataset
    dataset = create_dataset("wds/", root=str(out), split="validation", is_training=False)
    labels = [label for _, label in dataset]
    assert len(dataset) == 9
    assert labels == sorted(labels) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    gc.collect()


def test_dali_reads_it(out: Path) -> None:
    dali: Any = pytest.importorskip("nvidia.dali")
    fn: Any = pytest.importorskip("nvidia.dali.fn")

    @dali.pipeline_def(batch_size=9, num_threads=1, device_id=None)
    def graph() -> Any:
        tars = [str(tar) for tar in sorted(out.glob("pets-validation-*.tar"))]
        indexes = [tar.removesuffix("tar") + "idx" for tar in tars]
        jpg, cls = fn.readers.webdataset(paths=tars, index_paths=indexes, ext=["jpg", "cls"])
        return jpg, cls

    pipe: Any = graph()
    pipe.build()
    images, labels = pipe.run()
    opened = open_split(out, "validation")
    for i in range(9):
        assert images.at(i).tobytes() == opened.read(i).tobytes()
        assert int(labels.at(i).tobytes()) == opened.labels(np.array([i]))[0]
