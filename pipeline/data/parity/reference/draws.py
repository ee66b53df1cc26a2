"""What timm and torchvision draw: their own transforms, on images that only take notes."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import auto_augment, create_transform
from timm.data.mixup import Mixup, cutmix_bbox_and_lam
from timm.data.random_erasing import _get_pixels
from timm.data.transforms import RandomResizedCropAndInterpolation
from torchvision.transforms import ColorJitter, RandomResizedCrop

from pipeline.config.policy import parse_policy
from pipeline.config.schema import AugmentConfig
from pipeline.data.augment.operations import Op


@dataclass(frozen=True)
class TrainDraws:
    """What N images of one size meet."""

    boxes: NDArray[np.int64]
    """(N, 4) x, y, width, height."""
    bicubic: NDArray[np.bool_]
    """(N,)"""
    flips: NDArray[np.bool_]
    """(N,)"""
    ops: NDArray[np.int64]
    """(N, L) of Op; those that are applied come first."""
    arguments: NDArray[np.float64]
    """(N, L)"""
    ops_bicubic: NDArray[np.bool_]
    """(N, L); means nothing for operations that move no pixels."""
    erased: NDArray[np.int64]
    """(N, recount, 4) top, left, height, width; those that are erased come first."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """All generators that timm and torchvision draw from; put back afterwards."""
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


class _NotedImage(Image.Image):
    """Has a size and no pixels; notes what a transform asks of it."""

    def __init__(self, size: tuple[int, int], notes: dict[str, Any]):
        super().__init__()
        self._noted_size, self.notes = size, notes

    @property
    def size(self) -> tuple[int, int]:
        return self._noted_size

    def getbands(self) -> tuple[str, ...]:
        return ("R", "G", "B")

    def crop(self, box: Any = None) -> "_NotedImage":
        left, top, right, bottom = box
        self.notes["box"] = (left, top, right - left, bottom - top)
        return _NotedImage((right - left, bottom - top), self.notes)

    def resize(self, size: Any, resample: Any = None, *_: Any, **__: Any) -> "_NotedImage":
        self.notes["bicubic"] = resample == Image.Resampling.BICUBIC
        return _NotedImage(size, self.notes)

    def transpose(self, method: Any) -> "_NotedImage":
        assert method == Image.Transpose.FLIP_LEFT_RIGHT
        self.notes["flip"] = True
        return self


class _NotedTensor:
    """Has a shape and no values; notes which boxes are overwritten."""

    dtype = torch.float32

    def __init__(self, side: int):
        self._side = side
        self.boxes: list[tuple[int, int, int, int]] = []

    def size(self) -> tuple[int, int, int]:
        return 3, self._side, self._side

    def __setitem__(self, where: tuple[slice, slice, slice], values: Any) -> None:
        _, rows, columns = where
        height, width = rows.stop - rows.start, columns.stop - columns.start
        self.boxes.append((rows.start, columns.start, height, width))


def crop_boxes(
    config: AugmentConfig, size: tuple[int, int], count: int, seed: int, by_torchvision: bool
) -> NDArray[np.int64]:
    """Boxes of timm's random resized crop, or of torchvision's: (N, 4) x, y, width, height.

    Of an image of a few pixels timm may draw a box without any, and fail; torchvision does not.
    """
    cropping: Any = RandomResizedCrop if by_torchvision else RandomResizedCropAndInterpolation
    image = _NotedImage(size, {})
    with seeded(seed):
        drawn = [
            cropping.get_params(image, list(config.scale), list(config.ratio)) for _ in range(count)
        ]
    return np.array(drawn)[:, [1, 0, 3, 2]]  # from top, left, height, width


def train_draws(config: AugmentConfig, size: tuple[int, int], count: int, seed: int) -> TrainDraws:
    """Draws of timm's training transform for ``count`` images of a size (width, height)."""
    first, second, last = _transforms(config)
    applied: list[tuple[Op, float, bool]] = []
    _note_operations(second, applied)
    notes: list[dict[str, Any]] = []
    most = config.recount
    with seeded(seed):
        for _ in range(count):
            note: dict[str, Any] = {"flip": False, "bicubic": False}
            image, tensor = _NotedImage(size, note), _NotedTensor(config.img_size)
            second(first(image))
            last(tensor)
            notes.append({**note, "ops": [*applied], "erased": tensor.boxes})
            applied.clear()
    layers = parse_policy(config.aa).layers if config.aa else 1
    ops = [_filled(note["ops"], layers, (Op.NONE, 0.0, False)) for note in notes]
    return TrainDraws(
        boxes=np.array([note["box"] for note in notes]),
        bicubic=np.array([note["bicubic"] for note in notes]),
        flips=np.array([note["flip"] for note in notes]),
        ops=np.array([[op for op, _, _ in row] for row in ops]),
        arguments=np.array([[argument for _, argument, _ in row] for row in ops]),
        ops_bicubic=np.array([[bicubic for _, _, bicubic in row] for row in ops]),
        erased=np.array([_filled(note["erased"], most, (0, 0, 0, 0)) for note in notes]),
    )


def _filled(items: list[Any], length: int, item: Any) -> list[Any]:
    return items + [item] * (length - len(items))


def _transforms(config: AugmentConfig) -> tuple[Any, Any, Any]:
    """timm's three stages: geometry, operations, erasing alone."""
    stages: Any = create_transform(
        config.img_size,
        is_training=True,
        scale=config.scale,
        ratio=config.ratio,
        hflip=config.hflip,
        color_jitter=None,  # pyright: ignore[reportArgumentType]
        auto_augment=config.aa,
        interpolation=config.train_interpolation,
        mean=config.mean,
        re_prob=config.reprob,
        # What fills the boxes is another matter, and takes its time.
        re_mode="const",
        re_count=config.recount,
        separate=True,
    )
    first, second, last = stages
    erasing = [part for part in last.transforms if type(part).__name__ == "RandomErasing"]
    return first, second, erasing[0] if erasing else lambda tensor: tensor


def _note_operations(second: Any, applied: list[tuple[Op, float, bool]]) -> None:
    """Let each of timm's operations add itself to ``applied`` instead of changing the image."""

    def noting(op: Op) -> Callable[..., Any]:
        def note(image: Any, *arguments: float, **kwargs: Any) -> Any:
            # What the operations that move pixels do first: it draws the filter.
            auto_augment._check_args_tf(kwargs)
            is_bicubic = kwargs["resample"] == Image.Resampling.BICUBIC
            applied.append((op, float(arguments[0]) if arguments else 0.0, is_bicubic))
            return image

        return note

    for rand_augment in second.transforms:
        for operation in rand_augment.ops:
            operation.aug_fn = noting(_OPS[operation.name.removesuffix("Increasing")])


_OPS = {op.name.title().replace("_", ""): op for op in Op}


@dataclass(frozen=True)
class MixDraws:
    """N draws for micro-batches."""

    lam: NDArray[np.float64]
    """(N,) share of the image itself, after clipping of the box."""
    cutmix: NDArray[np.bool_]
    """(N,)"""
    boxes: NDArray[np.int64]
    """(N, 4) top, left, bottom, right; zeros for mixup."""


def mix_draws(config: AugmentConfig, count: int, seed: int) -> MixDraws:
    """Draws of timm's Mixup, mode batch."""
    mixup = Mixup(config.mixup, config.cutmix, switch_prob=config.mixup_switch_prob)
    lams, kinds, boxes = np.zeros(count), np.zeros(count, bool), np.zeros((count, 4), np.int64)
    with seeded(seed):
        for i in range(count):
            lam, is_cutmix = mixup._params_per_batch()
            if is_cutmix:
                (top, bottom, left, right), lam = cutmix_bbox_and_lam(
                    (3, config.img_size, config.img_size), lam
                )
                boxes[i] = top, left, bottom, right
            lams[i], kinds[i] = lam, is_cutmix
    return MixDraws(lams, kinds, boxes)


def jitter_draws(
    strength: float, count: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draws of torchvision's ColorJitter as timm builds it, without hue.

    Returns (N, 3) of Op, in the order in which they are applied, and (N, 3) factors.
    """
    jitter: Any = ColorJitter(strength, strength, strength)
    by_number = (Op.BRIGHTNESS, Op.CONTRAST, Op.COLOR)
    ops, factors = np.zeros((count, 3), np.int64), np.zeros((count, 3))
    with seeded(seed):
        for i in range(count):
            order, *drawn, _ = jitter.get_params(
                jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue
            )
            numbers = [number for number in order.tolist() if number < len(by_number)]
            ops[i] = [by_number[number] for number in numbers]
            factors[i] = [drawn[number] for number in numbers]
    return ops, factors


def erasing_values(mode: str, count: int, seed: int) -> NDArray[np.float32]:
    """(count,) values that timm's RandomErasing fills boxes with, in a mode of its own names."""
    with seeded(seed):
        boxes = [
            _get_pixels(mode == "pixel", mode == "rand", (3, 8, 8), device="cpu").flatten()
            for _ in range(-(-count // 3))
        ]
    return torch.cat(boxes)[:count].numpy()
