"""FFCV, over files that its DatasetWriter made of the same photographs in their own size."""

# Installed in .venv-peers alone.
# pyright: reportMissingImports=false

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import RandomHorizontalFlip, ToTensor
from ffcv.writer import DatasetWriter
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder

from tests.benchmarks.loader.material import BATCH, SIDE, WORKERS, Material

_MODE_JPEG = 0  # ffcv.fields.rgb_image.IMAGE_MODES["jpg"]


class _SameBytes(RGBImageField):
    """The files as they are, where FFCV would encode their pixels again."""

    def encode(self, destination: Any, image: str, malloc: Any) -> None:
        with open(image, "rb") as file, Image.open(file) as opened:
            destination["width"], destination["height"] = opened.size
            file.seek(0)
            jpeg = np.frombuffer(file.read(), np.uint8)
        destination["mode"] = _MODE_JPEG
        destination["data_ptr"], storage = malloc(jpeg.nbytes)
        storage[:] = jpeg


class _Paths:
    """An indexed dataset of paths and labels."""

    def __init__(self, material: Material):
        self._samples = ImageFolder(str(material.tree)).samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[str, int]:
        return self._samples[index]


def write_same_bytes(material: Material) -> int:
    """Returns the bytes of the file."""
    return _write(material, "ffcv", _SameBytes(write_mode="jpg"), _Paths(material))


def write_own(material: Material) -> int:
    """As its users do: decoded, and encoded again by OpenCV in quality 90 with 4:2:0 chroma."""
    field = RGBImageField(write_mode="jpg")
    return _write(material, "ffcv-own", field, ImageFolder(str(material.tree)))


def same_bytes(material: Material) -> Iterator[Tensor]:
    """(B, 224, 224, 3) uint8."""
    return _batches(material, "ffcv")


def own_jpegs(material: Material) -> Iterator[Tensor]:
    """(B, 224, 224, 3) uint8."""
    return _batches(material, "ffcv-own")


def _write(material: Material, name: str, field: RGBImageField, dataset: Any) -> int:
    path, fields = material.beton(name), {"image": field, "label": IntField()}
    DatasetWriter(str(path), fields, num_workers=WORKERS).from_indexed_dataset(dataset)
    return path.stat().st_size


def _batches(material: Material, name: str) -> Iterator[Tensor]:
    image: list[Any] = [
        RandomResizedCropRGBImageDecoder((SIDE, SIDE)),
        RandomHorizontalFlip(),
        ToTensor(),
    ]
    loader = Loader(
        str(material.beton(name)),
        batch_size=BATCH,
        num_workers=WORKERS,
        os_cache=True,
        order=OrderOption.RANDOM,
        pipelines={"image": image, "label": [IntDecoder(), ToTensor()]},
        custom_fields={"image": RGBImageField},
    )
    for images, _ in chain.from_iterable(repeat(loader)):
        yield images
