"""Who takes part. Each contestant's code lies in a module that only its own process imports."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from tests.benchmarks.loader.material import Material

if TYPE_CHECKING:
    from torch import Tensor

# What `pip install ffcv` brings or needs; its own __version__ is that of an older release.
_FFCV = ("ffcv", "numba", "opencv-python")


@dataclass(frozen=True)
class Contestant:
    """One way to turn the photographs into batches."""

    title: str
    module: str
    function: str
    packages: tuple[str, ...] = ()
    """Those that the project's own environment lacks."""
    prepare: str | None = None
    """Function of the same module that writes the contestant's own form of the photographs."""

    def batches(self, material: Material) -> "Iterator[Tensor | int]":
        """Batches of images without end, or for more than an epoch of the material."""
        return getattr(self._module(), self.function)(material)

    def write(self, material: Material) -> int:
        """Write what ``prepare`` writes; returns its bytes, 0 where nothing is to be written."""
        return 0 if self.prepare is None else getattr(self._module(), self.prepare)(material)

    def _module(self) -> object:
        return import_module(f"tests.benchmarks.loader.{self.module}")


CONTESTANTS = {
    "ours": Contestant("this project", "ours", "crop_flip"),
    "ffcv": Contestant("FFCV", "ffcv_peer", "same_bytes", _FFCV, "write_same_bytes"),
    "ffcv-own": Contestant("FFCV, its own JPEGs", "ffcv_peer", "own_jpegs", _FFCV, "write_own"),
    "torchvision": Contestant("torchvision", "torchvision_peer", "crop_flip"),
    "timm": Contestant("timm", "timm_peer", "crop_flip"),
    "dali": Contestant("DALI readers.webdataset", "dali_peer", "crop_flip"),
    "ours-full": Contestant("this project, full recipe", "ours", "full_recipe"),
    "timm-full": Contestant("timm, full recipe", "timm_peer", "full_recipe"),
    "dali-full": Contestant("DALI's own rand_augment", "dali_peer", "rand_augment"),
    "decode": Contestant("libjpeg-turbo alone, whole photographs", "decoding", "whole_photographs"),
}
