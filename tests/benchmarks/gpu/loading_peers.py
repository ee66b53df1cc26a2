"""DALI without this project: its own reader, random crop and RandAugment, and decoding alone."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.auto_aug import rand_augment as auto

from pipeline.shards import index_name
from tests.benchmarks.gpu.loading_cases import Case

SIDE = 224
_MEAN, _DEVIATION = (
    [255 * v for v in (0.485, 0.456, 0.406)],
    [255 * v for v in (0.229, 0.224, 0.225)],
)


def bare_dali(case: Case, shards: Path, device: str) -> Iterator[int]:
    """Numbers of images: cropped, flipped, RandAugmented and normalised fp16, unmixed."""
    return _batches(case, shards, device, decode_only=False)


def decode_alone(case: Case, shards: Path, device: str) -> Iterator[int]:
    """Numbers of images that are decoded whole; nothing else happens to them."""
    return _batches(case, shards, device, decode_only=True)


def _batches(case: Case, shards: Path, device: str, decode_only: bool) -> Iterator[int]:
    tars = sorted(shards.glob("*.tar"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*experimental")
        pipe: Any = _graph(
            [str(tar) for tar in tars],
            [str(tar.with_name(index_name(tar.name))) for tar in tars],
            case,
            decode_only,
            batch_size=case.batch,
            num_threads=case.decode_threads,
            device_id=0 if device == "cuda" else None,
            prefetch_queue_depth=case.prefetch_batches,
        )
        pipe.build()
    while True:
        (images,) = pipe.run()
        yield len(images)


@pipeline_def(enable_conditionals=True)
def _graph(tars: list[str], indexes: list[str], case: Case, decode_only: bool) -> Any:
    jpegs = fn.readers.webdataset(
        paths=tars, index_paths=indexes, ext=["jpg"], random_shuffle=True, name="reader"
    )
    decoder: dict[str, Any] = {"output_type": types.RGB, "device": "cpu"}
    if case.decode == "gpu":
        decoder |= {"device": "mixed", "hw_decoder_load": case.hw_decoder_load}
    if decode_only:
        # One value of each image: it is there when the image is decoded.
        return fn.crop(fn.decoders.image(jpegs, **decoder), crop=[1, 1])
    images = fn.decoders.image_random_crop(
        jpegs, random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3], **decoder
    )
    images = fn.resize(images, size=[SIDE, SIDE], interp_type=types.INTERP_LINEAR)
    images = fn.flip(images, horizontal=fn.random.coin_flip(probability=0.5))
    images = auto.rand_augment(images, n=2, m=9, shape=(SIDE, SIDE))
    return fn.crop_mirror_normalize(
        images, dtype=types.FLOAT16, output_layout="CHW", mean=_MEAN, std=_DEVIATION
    )
