"""On a GPU the same graph gives the same pixels, within the decoder's rounding, and faster."""

import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.schema import AugmentConfig, EvaluateConfig
from pipeline.data.augment.transforms import Transforms, eval_transforms, train_transforms
from pipeline.data.dali.graph import GraphSettings, graph_inputs, image_graph
from pipeline.data.dali.operations import Canvas

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
SIDE, COUNT = 224, 64
PLACES = {"cpu": (False, False), "decoded on the CPU": (True, False), "gpu": (True, True)}
"""Whether the images are on the GPU, and whether it decodes them."""


def jpeg(number: int) -> np.ndarray:
    """Smooth blobs with some noise, of various sizes: as compressible as a photograph."""
    rng = np.random.default_rng(number)
    size = (int(rng.integers(120, 600)), int(rng.integers(120, 600)))
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(int)
    noisy = (smooth + rng.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=92)
    return np.frombuffer(file.getvalue(), np.uint8)


JPEGS = [jpeg(number) for number in range(COUNT)]
SIZES = np.array([Image.open(io.BytesIO(data.tobytes())).size for data in JPEGS])


def graph(place: str, inputs: Iterator[tuple[Any, ...]], layers: int) -> Any:
    on_gpu, decode_on_gpu = PLACES[place]
    pipe = image_graph(
        source=inputs,
        settings=GraphSettings(Canvas(SIDE, (124, 116, 104), on_gpu), decode_on_gpu, layers),
        batch_size=COUNT,
        num_threads=4,
        device_id=0 if on_gpu else None,
        prefetch_queue_depth=2,
    )
    pipe.build()
    return pipe


def pixels(place: str, transforms: Transforms) -> np.ndarray:
    inputs = iter([graph_inputs(JPEGS, transforms, SIDE)])
    (images,) = graph(place, inputs, transforms.operations.layers).run()
    return torch.from_dlpack(images.as_tensor()).cpu().numpy().astype(int)


@pytest.mark.parametrize("place", ["decoded on the CPU", "gpu"])
@pytest.mark.parametrize("aa", [None, "rand-m9-mstd0.5-inc1", "rand-m9-n1-p1.0-inc1"])
def test_training_pixels_are_those_of_the_cpu(place: str, aa: str | None) -> None:
    config = AugmentConfig.model_validate({"aa": aa})
    transforms = train_transforms(config, 1, 0, np.arange(COUNT), SIZES)
    apart = np.abs(pixels(place, transforms) - pixels("cpu", transforms)).mean(axis=(1, 2, 3))
    # An operation such as equalize or posterize spreads the decoders' difference of a level.
    assert np.median(apart) < 1.0 and apart.max() < 8.0


@pytest.mark.parametrize("place", ["decoded on the CPU", "gpu"])
def test_evaluation_pixels_are_those_of_the_cpu(place: str) -> None:
    transforms = eval_transforms(EvaluateConfig(), SIDE, SIZES)
    assert np.abs(pixels(place, transforms) - pixels("cpu", transforms)).mean() < 1.0


def test_throughput(record_property: Callable[[str, object], None]) -> None:
    """Prints images per second of the full recipe; a figure to keep, not a bound."""
    config = AugmentConfig()

    def inputs() -> Iterator[tuple[Any, ...]]:
        for epoch in range(10**6):
            transforms = train_transforms(config, 1, epoch, np.arange(COUNT), SIZES)
            yield graph_inputs(JPEGS, transforms, SIDE)

    for place in PLACES:
        pipe = graph(place, inputs(), 2)
        for _ in range(5):
            pipe.run()
        began = time.perf_counter()
        for _ in range(50):
            pipe.run()
        speed = 50 * COUNT / (time.perf_counter() - began)
        record_property(place, speed)
        print(f"{place}: {speed:.0f} img/s")
        assert speed > 0
