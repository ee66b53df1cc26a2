"""torchvision's ImageFolder and transforms behind torch's DataLoader."""

from collections.abc import Iterator
from itertools import chain, repeat

from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from tests.benchmarks.loader.material import BATCH, SIDE, WORKERS, Material


def crop_flip(material: Material) -> Iterator[Tensor]:
    """(B, 3, 224, 224) uint8."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )
    loader = DataLoader(
        ImageFolder(str(material.tree), transform),
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        drop_last=True,
        persistent_workers=True,
    )
    for images, _ in chain.from_iterable(repeat(loader)):
        yield images
