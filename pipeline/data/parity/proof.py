"""All rows, part by part."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version

from pipeline.config.schema import AugmentConfig, EvaluateConfig
from pipeline.data.parity.distributions import distribution_rows
from pipeline.data.parity.images import Picture, crafted_files, shipped_photographs
from pipeline.data.parity.mixing import mixing_rows
from pipeline.data.parity.operations import operation_rows
from pipeline.data.parity.pixels import pixel_rows
from pipeline.data.parity.rows import Row

LEGEND = (
    "Pixels differ by levels of 0..255; mean is that of the worst image. PIL in float is PIL\n"
    "without its rounding between two passes and its way with borders. Draws show p-values."
)


def parts(
    photographs: Sequence[Picture], augment: AugmentConfig, evaluate: EvaluateConfig
) -> dict[str, Iterator[Row]]:
    """What each part is about, and its rows, which are found as they are asked for."""
    crafted = crafted_files(shipped_photographs()[0])
    return {
        "files": pixel_rows(photographs, crafted, augment, evaluate),
        "operations": operation_rows(photographs, augment),
        "draws": distribution_rows(augment, augment),
        "mixing": mixing_rows(photographs, augment),
    }


def peers() -> str:
    """What we are compared with, and its versions."""
    return ", ".join(f"{name} {version(name)}" for name in ("timm", "torchvision", "pillow"))
