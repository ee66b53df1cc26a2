"""What timm knows of ImageNet's classes and of its validation images."""

import functools
from collections.abc import Sequence

from timm.data import ImageNetInfo, RealLabelsImagenet

_VALIDATION_IMAGES = 50_000


def descriptions(names: Sequence[str]) -> dict[str, str]:
    """``n01440764`` to ``tench, Tinca tinca``; empty unless all are WordNet ids of ImageNet."""
    known = ImageNetInfo("imagenet-22k")
    if not set(names) <= set(known.label_names()):
        return {}
    return {name: known.label_name_to_description(name) for name in names}


def is_imagenet1k(names: Sequence[str]) -> bool:
    """Whether these are its 1,000 classes in their usual order."""
    return list(names) == ImageNetInfo("imagenet-1k").label_names()


@functools.cache
def real_labels() -> dict[str, list[int]]:
    """Per validation image (``ILSVRC2012_val_00000001``) its classes after people looked again.

    Empty where they agreed on none. Beyer et al., "Are we done with ImageNet?", arXiv 2006.07159.
    """
    files = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, _VALIDATION_IMAGES + 1)]
    found: dict[str, list[int]] = RealLabelsImagenet(files).real_labels
    return {file.removesuffix(".JPEG"): labels for file, labels in found.items()}
