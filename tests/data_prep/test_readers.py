"""Other programs read the folder as it is."""

import gc
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
    read = list(dataset)
    opened = open_split(out, "validation")
    assert len(dataset) == len(read) == len(opened) == 9
    assert [label for _, label in read] == opened.labels(np.arange(9)).tolist()
    for i, (image, _) in enumerate(read):
        with Image.open(io.BytesIO(opened.read(i).tobytes())) as ours:
            assert np.array_equal(np.asarray(image), np.asarray(ours.convert("RGB")))
    gc.collect()


def test_open_clip_counts_it(out: Path) -> None:
    braceexpand = pytest.importorskip("braceexpand").braceexpand
    # As open_clip's get_dataset_size sums a data set named by braces.
    sizes = json.loads((out / "sizes.json").read_text())
    names = [Path(url).name for url in braceexpand(str(out / "pets-train-{0000..0004}.tar"))]
    assert sum(int(sizes[name]) for name in names) == 21
    for name in sizes:
        with tarfile.open(out / name) as tar:
            assert sizes[name] == sum(member.name.endswith(".jpg") for member in tar)


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
