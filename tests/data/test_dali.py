"""The DALI graph against PIL and torchvision, and what it says of damaged images."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tf

from pipeline.config.schema import AugmentConfig, EvaluateConfig
from pipeline.data.augment import Transforms, eval_transforms, train_transforms
from pipeline.data.dali import DecodeCheck, DecodeStream, Request
from pipeline.errors import DataError

CPU = torch.device("cpu")


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


def run(transforms: Transforms, img_size: int, jpegs: list[np.ndarray] = JPEGS) -> np.ndarray:
    def requests() -> Iterator[Request]:
        yield Request(jpegs, transforms, lambda i: f"key{i} (original photo {i}.JPEG)")

    stream = DecodeStream(requests(), len(jpegs), img_size, CPU, "cpu", threads=1, prefetch=2)
    return next(stream).numpy().astype(int)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_evaluation_is_torchvisions(interpolation: str) -> None:
    config = EvaluateConfig.model_validate({"interpolation": interpolation})
    ours = run(eval_transforms(config, 224, SIZES), 224)
    for image, result in zip(DECODED, ours, strict=True):
        resized = tf.resize(image, [248], InterpolationMode(interpolation))
        theirs = np.asarray(tf.center_crop(resized, [224, 224])).astype(int)
        assert np.abs(result - theirs).mean() < 0.5
        assert np.abs(result - theirs).max() <= 8


def test_training_is_torchvisions_with_the_same_boxes() -> None:
    t = train_transforms(AugmentConfig(), 3, 1, np.arange(5), SIZES)
    assert len(set(t.bicubic.tolist())) == 2 and len(set(t.flips.tolist())) == 2
    ours = run(t, 224)
    for i, (image, result) in enumerate(zip(DECODED, ours, strict=True)):
        x, y, w, h = t.boxes[i].tolist()
        mode = InterpolationMode.BICUBIC if t.bicubic[i] else InterpolationMode.BILINEAR
        theirs = tf.resized_crop(image, y, x, h, w, [224, 224], mode)
        theirs = tf.hflip(theirs) if t.flips[i] else theirs
        assert np.abs(result - np.asarray(theirs).astype(int)).mean() < 1.0


def test_a_damaged_image_is_named() -> None:
    damaged = [*JPEGS[:4], JPEGS[4][: len(JPEGS[4]) // 3]]
    with pytest.raises(DataError, match=r"key4 \(original photo 4.JPEG\) cannot be decoded"):
        run(eval_transforms(EvaluateConfig(), 224, SIZES), 224, damaged)


def test_decode_check_refuses_just_the_broken_ones() -> None:
    broken = [
        JPEGS[0][: len(JPEGS[0]) // 2],
        np.frombuffer(b"hello, no image", np.uint8),
        np.zeros(0, np.uint8),
    ]
    reasons = DecodeCheck().refusals([JPEGS[1], broken[0], JPEGS[2], *broken[1:], JPEGS[3]])
    assert [reason is None for reason in reasons] == [True, False, True, False, False, True]
