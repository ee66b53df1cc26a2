"""On a GPU the same graph gives the same pixels as on the CPU, within stated bounds."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("nvidia.dali")

from pipeline.config.schema import AugmentConfig, EvaluateConfig
from pipeline.data.augment.operations import SIGNED_RANGES, Op, Operations
from pipeline.data.augment.transforms import Transforms, eval_transforms, train_transforms
from pipeline.data.dali.gpu_decoder import gpu_decoder, is_huge
from pipeline.data.dali.graph import GraphSettings, graph_inputs, image_graph
from pipeline.data.dali.handover import Handover
from pipeline.data.dali.operations import Canvas
from pipeline.data.parity.ours import portable_pixmap, whole

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
SIDE, FILL = 224, (124, 116, 104)
PLACES = {"cpu": (False, False), "decoded on the CPU": (True, False), "gpu": (True, True)}
"""Whether the images are on the GPU, and whether it decodes them."""
MEAN_BOUND, TAIL_BOUND = 1.5, 8
"""Levels of 255 by which decoders may differ: the mean of an image, and 99 of 100 of its values.
The images' noise is of 6 levels either way: one pixel to the side would make a mean of 4."""
OPERATIONS_BOUND = 8.0
"""Mean levels of one image, where equalize or posterize spreads a level of the decoders'."""
HUGE_MEMORY_BOUND_MB = 1024
"""What six images of 5000 x 6000 may cost; decoded at once on the GPU they would take 540 MB, as
much in its hardware's planes, and 180 MB in each thread."""


def photograph(seed: int, width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Smooth blobs with some noise: as compressible as a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    noise = rng.integers(-6, 7, (height, width, 1), dtype=np.int16)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8)).convert(mode)


def jpeg(image: Image.Image, kind: str = "JPEG", **options: Any) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, kind, **{"quality": 92, **options})
    return np.frombuffer(file.getvalue(), np.uint8)


def kinds() -> dict[str, np.ndarray]:
    """A JPEG of each kind that ImageNet has, and of sizes at the edge of what it has."""
    turned = Image.Exif()
    turned[0x0112] = 6
    found = {
        "4:4:4": jpeg(photograph(1, 500, 375), subsampling=0),
        "4:2:2": jpeg(photograph(2, 500, 333), subsampling=1),
        "4:2:0": jpeg(photograph(3, 375, 500), subsampling=2),
        "grey": jpeg(photograph(4, 480, 360, "L")),
        "CMYK": jpeg(photograph(5, 400, 300, "CMYK")),
        "progressive": jpeg(photograph(6, 500, 375), progressive=True),
        "EXIF turned": jpeg(photograph(7, 300, 200), exif=turned),
        "PNG": jpeg(photograph(13, 320, 240), "PNG"),  # ImageNet has one, called .JPEG
        "tiny": jpeg(photograph(8, 9, 7)),
        "one pixel": jpeg(photograph(9, 1, 1)),
        "flat": jpeg(photograph(10, 640, 20)),
        "odd": jpeg(photograph(11, 331, 227), subsampling=2),
        "four megapixels": jpeg(photograph(12, 2048, 2048)),
    }
    return found | {f"photograph {n}": jpeg(photograph(n, 400 + 9 * n, 300)) for n in range(20, 40)}


KINDS = kinds()
JPEGS = list(KINDS.values())
SIZES = np.array([Image.open(io.BytesIO(data.tobytes())).size for data in JPEGS])


def pixels(place: str, files: list[np.ndarray], transforms: Transforms) -> np.ndarray:
    """(B, side, side, 3) integers."""
    on_gpu, decode_on_gpu = PLACES[place]
    decoder = gpu_decoder(transforms.sizes, len(files), 1.0) if decode_on_gpu else None
    settings = GraphSettings(Canvas(SIDE, FILL, on_gpu), decoder, transforms.operations.layers)
    device_id = 0 if on_gpu else None
    pipe: Any = image_graph(
        source=iter([graph_inputs(files, transforms, settings)]),
        settings=settings,
        batch_size=len(files),
        num_threads=4,
        device_id=device_id,
        prefetch_queue_depth=1,
    )
    pipe.build()
    (images,) = pipe.run()
    return Handover(device_id)(images).cpu().numpy().astype(int)


def assert_alike(place: str, transforms: Transforms) -> None:
    """Every image by itself; all figures are told before any is judged."""
    apart = np.abs(pixels(place, JPEGS, transforms) - pixels("cpu", JPEGS, transforms))
    means, tails = apart.mean(axis=(1, 2, 3)), np.percentile(apart, 99, axis=(1, 2, 3))
    rows = dict(zip(KINDS, zip(means.round(3).tolist(), tails.tolist(), strict=True), strict=True))
    print(f"mean and 99th percentile of the difference, {place}: {rows}")
    far = {kind: row for kind, row in rows.items() if row[0] > MEAN_BOUND or row[1] > TAIL_BOUND}
    assert not far


@pytest.mark.parametrize("place", ["decoded on the CPU", "gpu"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_evaluation_pixels_are_those_of_the_cpu(place: str, interpolation: str) -> None:
    config = EvaluateConfig.model_validate({"interpolation": interpolation})
    assert_alike(place, eval_transforms(config, SIDE, SIZES))


@pytest.mark.parametrize("place", ["decoded on the CPU", "gpu"])
def test_cropped_and_flipped_pixels_are_those_of_the_cpu(place: str) -> None:
    transforms = train_transforms(AugmentConfig(aa=None), 1, 0, np.arange(len(SIZES)), SIZES)
    assert 0 < transforms.flips.sum() < len(SIZES) and 0 < transforms.bicubic.sum() < len(SIZES)
    assert_alike(place, transforms)


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_crops_at_the_borders_are_those_of_the_cpu(corner: tuple[int, int]) -> None:
    transforms = train_transforms(AugmentConfig(aa=None), 2, 0, np.arange(len(SIZES)), SIZES)
    kept = np.maximum(1, SIZES * 3 // 5)
    boxes = np.concatenate([(SIZES - kept) * np.array(corner), kept], axis=1)
    assert_alike("gpu", replace(transforms, boxes=boxes))


@pytest.mark.parametrize("place", ["decoded on the CPU", "gpu"])
@pytest.mark.parametrize("aa", ["rand-m9-mstd0.5-inc1", "rand-m9-n3-p1.0-inc1"])
def test_rand_augmented_pixels_are_those_of_the_cpu(place: str, aa: str) -> None:
    config = AugmentConfig.model_validate({"aa": aa})
    transforms = train_transforms(config, 1, 0, np.arange(len(SIZES)), SIZES)
    apart = np.abs(pixels(place, JPEGS, transforms) - pixels("cpu", JPEGS, transforms))
    means = apart.mean(axis=(1, 2, 3))
    assert np.median(means) < MEAN_BOUND and means.max() < OPERATIONS_BOUND


@pytest.mark.parametrize("bicubic", [False, True])
def test_each_operation_on_the_same_pixels_is_that_of_the_cpu(bicubic: bool) -> None:
    """Files without loss, so that only the operations' own rounding differs."""
    ops = np.repeat([int(op) for op in Op], 2)
    signs = np.tile([1.0, -1.0], len(Op))
    arguments = {op: 0.9 * most for op, most in SIGNED_RANGES.items()}
    arguments |= {Op.POSTERIZE: 2.0, Op.SOLARIZE: 26.0, Op.SOLARIZE_ADD: 99.0}
    drawn = np.array([arguments.get(Op(op), 0.3) for op in ops.tolist()])
    drawn *= np.where(np.isin(ops, list(SIGNED_RANGES)), signs, 1.0)
    layer = Operations(
        ops[:, None].astype(np.int8), drawn[:, None], np.full((len(ops), 1), bicubic)
    )
    # Neither black nor white in them: then contrast can be stretched.
    squares = np.stack([np.asarray(photograph(n, SIDE, SIDE)) for n in range(len(ops))]) // 2 + 60
    files, transforms = [portable_pixmap(square) for square in squares], whole(SIDE, layer)
    expected, got = pixels("cpu", files, transforms), pixels("gpu", files, transforms)
    beyond = (np.abs(got - expected) > 1).mean(axis=(1, 2, 3)).tolist()
    rows = {f"{Op(op).name} {sign:+.0f}": x for op, sign, x in zip(ops, signs, beyond, strict=True)}
    print(f"share of values more than a level apart: {rows}")
    assert np.array_equal(expected[ops == Op.NONE], squares[ops == Op.NONE])
    assert (expected != squares).any(axis=(1, 2, 3))[ops != Op.NONE].all()
    assert not {name: share for name, share in rows.items() if share > 0.01}


def test_huge_images_among_others_fit_and_have_the_pixels_of_the_cpu() -> None:
    small = [photograph(n, 1250, 1500) for n in (50, 51)]
    originals = [jpeg(each.resize((5000, 6000), Image.Resampling.BILINEAR)) for each in small]
    names = ("4:4:4", "CMYK", "progressive", "grey", "4:2:0", "EXIF turned")
    files = [file for name in names for file in (KINDS[name], originals[len(name) % 2])]
    sizes = np.array([Image.open(io.BytesIO(file.tobytes())).size for file in files])
    assert is_huge(sizes).tolist() == [False, True] * len(names)
    config = AugmentConfig.model_validate({"aa": None, "scale": (0.9, 1.0)})
    transforms = train_transforms(config, 1, 0, np.arange(len(files)), sizes)
    pixels("gpu", JPEGS, train_transforms(config, 1, 0, np.arange(len(SIZES)), SIZES))
    torch.cuda.empty_cache()
    free_before, _ = torch.cuda.mem_get_info()
    got = pixels("gpu", files, transforms)
    # What DALI and nvJPEG once took they keep.
    free_after, _ = torch.cuda.mem_get_info()
    taken_mb = (free_before - free_after) / 2**20
    print(f"six images of 5000 x 6000 take {taken_mb:.0f} MB of the device")
    apart = np.abs(got - pixels("cpu", files, transforms)).mean(axis=(1, 2, 3))
    assert apart.max() < MEAN_BOUND and taken_mb < HUGE_MEMORY_BOUND_MB
