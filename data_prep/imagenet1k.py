"""What is known of ImageNet-1k (ILSVRC2012, classification).

The class names stand in ``imagenet1k_wnids.txt``, in label order, as in timm's
``imagenet_synsets.txt``; the counts are those of Russakovsky et al., "ImageNet Large Scale Visual
Recognition Challenge", arXiv 1409.0575, Table 2.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path

NAME = "imagenet1k"
IMAGES = {"train": 1_281_167, "validation": 50_000}
IMAGES_PER_CLASS = {"train": range(732, 1301), "validation": range(50, 51)}

_WNID = re.compile(r"n\d{8}")


@functools.cache
def wnids() -> tuple[str, ...]:
    """The 1,000 class names, sorted: position = label."""
    text = Path(__file__).with_name("imagenet1k_wnids.txt").read_text(encoding="ascii")
    return tuple(text.split())


def is_wnid(name: str) -> bool:
    """Whether a class name is a WordNet id such as ``n01440764``."""
    return _WNID.fullmatch(name) is not None


def is_subset(classes: Sequence[str]) -> bool:
    """Whether all classes are ImageNet-1k's."""
    return bool(classes) and set(classes) <= set(wnids())


def is_all(classes: Sequence[str]) -> bool:
    """Whether the classes are ImageNet-1k's, in whatever order."""
    return set(classes) == set(wnids())
