"""What is compared: photographs, and images made up to be awkward."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import DataError, UserError
from pipeline.log import info

_MOST = 500  # images; all of them are in memory at once
_SUFFIXES = (".jpg", ".jpeg")
_SEED = 0


@dataclass(frozen=True)
class Picture:
    """An image file."""

    file: NDArray[np.uint8]
    """(N,) its bytes."""

    def opened(self) -> Image.Image:
        """As PIL opens it, in its own mode."""
        return Image.open(io.BytesIO(self.file.tobytes()))

    def rgb(self) -> Image.Image:
        """As timm's data sets hand it to their transforms."""
        return self.opened().convert("RGB")


def sizes_of(pictures: Sequence[Picture]) -> NDArray[np.int64]:
    """(B, 2) width, height."""
    return np.array([picture.opened().size for picture in pictures], np.int64)


def shipped_photographs() -> list[Picture]:
    """The two photographs that scikit-learn brings along, 640 x 427."""
    package = find_spec("sklearn")  # without importing it, which takes seconds
    assert package is not None and package.origin is not None
    folder = Path(package.origin).parent / "datasets" / "images"
    return [_read(folder / name) for name in ("china.jpg", "flower.jpg")]


def photographs_in(folder: Path) -> list[Picture]:
    """JPEGs under a folder, by name; of more than 500 some from everywhere.

    Raises UserError if there are none, DataError if PIL cannot decode one.
    """
    if not folder.is_dir():
        raise UserError(f"--images {folder} is no folder; name one with JPEGs in it")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise UserError(f"--images {folder} holds no file that ends in {' or '.join(_SUFFIXES)}")
    if len(paths) > _MOST:
        info(f"--images {folder}: {_MOST} of its {len(paths)} JPEGs are compared")
        paths = [paths[i * len(paths) // _MOST] for i in range(_MOST)]
    return [_read(path) for path in paths]


def _read(path: Path) -> Picture:
    picture = Picture(np.fromfile(path, np.uint8))
    try:
        picture.rgb()
    except OSError as error:
        raise DataError(f"{path}: PIL cannot decode it: {error}; leave it out") from None
    return picture


def crafted_files(photograph: Picture) -> list[Picture]:
    """JPEGs that are tiny, long, flat, steep, grey, CMYK, progressive or subsampled."""
    rng = np.random.default_rng(_SEED)
    part = photograph.rgb().crop((100, 100, 400, 350))
    return [
        _jpeg(part.convert("L")),
        _jpeg(part.convert("CMYK")),
        _jpeg(part, progressive=True),
        *(_jpeg(part, subsampling=chroma) for chroma in _SUBSAMPLINGS),
        *(_jpeg(_noise(rng, width, height)) for width, height in _AWKWARD_SIZES),
        *(_jpeg(Image.fromarray(square)) for square in crafted_squares(300)),
    ]


_SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
_AWKWARD_SIZES = [
    *((1, 1), (1, 8), (8, 1), (2, 3), (7, 5), (8, 8)),
    *((200, 10), (10, 200), (3, 60), (30, 1)),
]


def crafted_squares(side: int) -> list[NDArray[np.uint8]]:
    """(side, side, 3) images, each an edge case of some operation: the steepest, the flattest."""
    rng = np.random.default_rng(_SEED)
    ramp = np.linspace(0, 255, side)
    across, down = np.meshgrid(ramp, ramp)
    steps = np.add.outer(np.arange(side), np.arange(side))
    grey = [
        across,
        steps % 2 * 255,  # a checkerboard
        np.add.outer(*[np.arange(side) // 8] * 2) % 2 * 255,  # a coarser one
        np.zeros((side, side)),
        np.full((side, side), 255),
        100 + steps % 4,
        np.where(across > 128, 200, 55),
    ]
    squares = [
        *(np.stack([array] * 3, axis=2) for array in grey),
        np.stack([across, down, 255 - across], axis=2),
        np.tile(np.array([7, 128, 250]), (side, side, 1)),
        np.stack([np.full((side, side), 64), across, down], axis=2),
        rng.integers(0, 256, (side, side, 3)),
    ]
    return [array.astype(np.uint8) for array in squares]


def squares_of(pictures: Sequence[Picture], side: int) -> NDArray[np.uint8]:
    """(B, side, side, 3): the central squares, scaled by PIL."""
    squares: list[NDArray[np.uint8]] = []
    for picture in pictures:
        image = picture.rgb()
        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        scaled = image.resize(
            (side, side), Image.Resampling.BICUBIC, (left, top, left + short, top + short)
        )
        squares.append(np.asarray(scaled))
    return np.stack(squares)


def _noise(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def _jpeg(image: Image.Image, **options: Any) -> Picture:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 95, **options})
    return Picture(np.frombuffer(file.getvalue(), np.uint8))
