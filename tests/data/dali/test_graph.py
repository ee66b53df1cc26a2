"""The DALI graph without operations against PIL and torchvision."""

import io

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tf

from pipeline.config.schema import AugmentConfig, EvaluateConfig
from pipeline.data.augment.transforms import Transforms, eval_transforms, train_transforms
from pipeline.data.dali.graph import GraphSettings, graph_inputs, image_graph
from pipeline.data.dali.operations import Canvas


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Smooth blobs with some noise: as compressible as a photograph."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noisy = smooth.astype(int) + rng.integers(-6, 7, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, subsampling=0)
    return np.frombuffer(file.getvalue(), np.uint8)


SIZES = np.array([[320, 240], [200, 301], [224, 224], [90, 400], [500, 375]])
JPEGS = [jpeg(photograph(*size, seed=i)) for i, size in enumerate(SIZES.tolist())]
DECODED = [Image.open(io.BytesIO(data.tobytes())).convert("RGB") for data in JPEGS]


def run(transforms: Transforms, side: int = 224) -> np.ndarray:
    settings = GraphSettings(Canvas(side, (124, 116, 104), False), None, layers=0)
    source = iter([graph_inputs(JPEGS, transforms, settings)])
    pipe = image_graph(
        source=source,
        settings=settings,
        batch_size=len(JPEGS),
        num_threads=1,
        device_id=None,
        prefetch_queue_depth=1,
    )
    pipe.build()
    return pipe.run()[0].as_array().astype(int)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_evaluation_is_torchvisions(interpolation: str) -> None:
    config = EvaluateConfig.model_validate({"interpolation": interpolation})
    ours = run(eval_transforms(config, 224, SIZES))
    for image, result in zip(DECODED, ours, strict=True):
        resized = tf.resize(image, [248], InterpolationMode(interpolation))
        theirs = np.asarray(tf.center_crop(resized, [224, 224])).astype(int)
        assert np.abs(result - theirs).mean() < 0.5
        assert np.abs(result - theirs).max() <= 8


def test_training_is_torchvisions_with_the_same_boxes() -> None:
    t = train_transforms(AugmentConfig(aa=None), 3, 1, np.arange(5), SIZES)
    assert len(set(t.bicubic.tolist())) == 2 and len(set(t.flips.tolist())) == 2
    ours = run(t)
    for i, (image, result) in enumerate(zip(DECODED, ours, strict=True)):
        x, y, w, h = t.boxes[i].tolist()
        mode = InterpolationMode.BICUBIC if t.bicubic[i] else InterpolationMode.BILINEAR
        theirs = tf.resized_crop(image, y, x, h, w, [224, 224], mode)
        theirs = tf.hflip(theirs) if t.flips[i] else theirs
        difference = np.abs(result - np.asarray(theirs).astype(int))
        assert difference.mean() < 0.5
