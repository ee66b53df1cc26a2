"""DALI's own webdataset reader over this project's shards, as its examples do it."""

from collections.abc import Iterator
from typing import Any

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.auto_aug import rand_augment as auto
from nvidia.dali.plugin.pytorch import DALIGenericIterator
from torch import Tensor

from pipeline.shards import index_name
from tests.benchmarks.loader.material import BATCH, SIDE, WORKERS, Material


def crop_flip(material: Material) -> Iterator[Tensor]:
    """(B, 224, 224, 3) uint8."""
    return _batches(material, with_rand_augment=False)


def rand_augment(material: Material) -> Iterator[Tensor]:
    """(B, 224, 224, 3) uint8."""
    return _batches(material, with_rand_augment=True)


def _batches(material: Material, with_rand_augment: bool) -> Iterator[Tensor]:
    tars = sorted(material.shards.glob("*.tar"))
    pipe = _graph(
        [str(tar) for tar in tars],
        [str(tar.with_name(index_name(tar.name))) for tar in tars],
        with_rand_augment,
        batch_size=BATCH,
        num_threads=WORKERS,
        device_id=None,
    )
    batches = DALIGenericIterator([pipe], ["images", "labels"], reader_name="reader")
    while True:
        for (outputs,) in batches:
            yield outputs["images"]
        batches.reset()


@pipeline_def(enable_conditionals=True)
def _graph(tars: list[str], indexes: list[str], with_rand_augment: bool) -> Any:
    jpegs, labels = fn.readers.webdataset(
        paths=tars,
        index_paths=indexes,
        ext=["jpg", "cls"],
        random_shuffle=True,
        missing_component_behavior="error",
        name="reader",
    )
    images = fn.decoders.image_random_crop(
        jpegs,
        random_area=[0.08, 1.0],
        random_aspect_ratio=[3 / 4, 4 / 3],
        num_attempts=10,
        output_type=types.RGB,
    )
    images = fn.resize(images, size=[SIDE, SIDE], interp_type=types.INTERP_LINEAR)
    images = fn.flip(images, horizontal=fn.random.coin_flip(probability=0.5))
    if with_rand_augment:
        images = auto.rand_augment(images, n=2, m=9, shape=(SIDE, SIDE))
    return images, labels
