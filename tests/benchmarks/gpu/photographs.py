"""JPEGs made up to cost what ImageNet's cost to read and decode, and shards of them.

What the loader's speed depends on follows 200 of ImageNet's own: how many pixels they have, their
proportions, bytes per pixel, and how many keep their chroma whole (4:4:4). The pictures are noise
with the spectrum of photographs; no speed depends on what they show.
"""

import argparse
import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import DataError
from pipeline.world import cpus_at_hand
from tests.benchmarks.record import shard_command

CLASSES = 1000
MEAN_BYTES = 110_000
"""Of ImageNet's training images."""
_DISTINCT = 1024
"""Beyond these the files come again: they take no longer to decode than new ones."""
_PERCENTILES = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)
_PIXELS = np.array([18, 24, 47, 120, 166, 187, 188, 239, 478, 812, 1310]) * 1000
"""Of images at these percentiles."""
_PROPORTIONS = ((4 / 3, 0.45), (3 / 2, 0.22), (3 / 4, 0.13), (2 / 3, 0.08), (1.0, 0.12))
"""Width over height, and how often."""
_WHOLE_CHROMA = 0.77
"""Share of 4:4:4 JPEGs, which have quality 96; the rest have 4:2:0 and 90."""
_FALL = (1.25, 1.85)
"""The spectrum's amplitude falls with the frequency to this power, from image to image."""


def roomy_folder(images: int) -> Path:
    """A folder in memory that has room for ``make_shards``, else the one for temporary files."""
    needed = 2 * images * MEAN_BYTES + _DISTINCT * MEAN_BYTES
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > needed
    return memory if has_room else Path(tempfile.gettempdir())


def photo_folder(text: str) -> Path:
    """A parser's type: a folder with class folders of JPEGs. Raises ArgumentTypeError."""
    folder = Path(text)
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder; make it, or name another")
    if next(_photos(folder), None) is None:
        raise argparse.ArgumentTypeError(
            f"{text} has no *.jpg or *.jpeg in class folders; name a folder whose folders hold "
            "JPEGs, such as ImageNet's train, or leave the flag out for made ones"
        )
    return folder


def make_shards(folder: Path, images: int, seed: int, photos: Path | None = None) -> Path:
    """Shards of ``images`` JPEGs; the split is ``train``, of CLASSES classes, not all of them used.

    photos: a folder as of ``photo_folder``, whose JPEGs are taken in turn instead of made ones. The
    same arguments give the same bytes. Returns the folder of the shards, ``folder``/shards. Raises
    DataError where sharding fails, and OSError where files cannot be written.
    """
    shards = folder / "shards"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        files = (
            _made(Path(scratch), min(images, _DISTINCT), seed)
            if photos is None
            else sorted(_photos(photos))
        )
        tree = Path(scratch) / "tree"
        _spread(files, tree, images)
        names = Path(scratch) / "classes.txt"
        names.write_text("".join(f"{_class_name(label)}\n" for label in range(CLASSES)))
        # As many to a shard as ImageNet's 1,024 shards have.
        flags = ("--split", "train", "--samples-per-shard", "1250", "--name", "photographs")
        flags += ("--classes", str(names))
        done = subprocess.run(
            shard_command(tree, shards, *flags), capture_output=True, text=True, errors="replace"
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise DataError(f"shard.py ended with code {done.returncode}: {last}")
    return shards


def photograph(seed: int, number: int, size: tuple[int, int] | None = None) -> bytes:
    """A JPEG; the same for the same arguments. size: width and height, else drawn."""
    rng = np.random.default_rng((seed, number))
    width, height = size or _size(rng)
    fall = rng.uniform(*_FALL)
    luma, blue, red = (_noise(rng, width, height, fall) for _ in range(3))
    planes = np.stack([118 + 50 * luma, 128 + 8 * blue, 128 + 8 * red], axis=2)
    image = Image.frombytes("YCbCr", (width, height), planes.clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    if rng.random() < _WHOLE_CHROMA:
        image.save(file, "JPEG", quality=96, subsampling=0)
    else:
        image.save(file, "JPEG", quality=90, subsampling=2)
    return file.getvalue()


def _photos(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*/*") if path.suffix.lower() in (".jpg", ".jpeg"))


def _size(rng: np.random.Generator) -> tuple[int, int]:
    pixels = np.exp(np.interp(100 * rng.random(), _PERCENTILES, np.log(_PIXELS)))
    values, shares = zip(*_PROPORTIONS, strict=True)
    proportion = rng.choice(values, p=shares)
    return round(np.sqrt(pixels * proportion)), round(np.sqrt(pixels / proportion))


def _noise(rng: np.random.Generator, width: int, height: int, fall: float) -> NDArray[np.float32]:
    """(height, width) of mean 0 and deviation 1, with amplitudes that fall with the frequency."""
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf
    parts = rng.standard_normal((2, *frequency.shape), dtype=np.float32)
    noise = np.fft.irfft2((parts[0] + 1j * parts[1]) * frequency**-fall, s=(height, width))
    return (noise / noise.std()).astype(np.float32)


def _made(folder: Path, count: int, seed: int) -> list[Path]:
    paths = [folder / f"{number:06}.jpg" for number in range(count)]
    # Threads: numpy and PIL work without Python's lock, and processes would import all anew.
    with ThreadPoolExecutor(cpus_at_hand()) as pool:
        for path, made in zip(
            paths, pool.map(photograph, [seed] * count, range(count)), strict=True
        ):
            path.write_bytes(made)
    return paths


def _spread(files: list[Path], tree: Path, images: int) -> None:
    """``tree/<class>/<number>.jpg``, the files in turn, as links where the file system has them."""
    for label in range(min(images, CLASSES)):
        (tree / _class_name(label)).mkdir(parents=True)
    for number in range(images):
        place = tree / _class_name(number % CLASSES) / f"{number:07}.jpg"
        file = files[number % len(files)]
        try:
            place.hardlink_to(file)
        except OSError:
            place.symlink_to(file.resolve())


def _class_name(label: int) -> str:
    return f"class{label:03}"
