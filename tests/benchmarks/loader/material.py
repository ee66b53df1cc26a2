"""What all contestants read, made once from the same photographs, and what all are asked for."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.record import shard_command
from tests.benchmarks.sharding import plant

BATCH = 64
SIDE = 224
"""Side of the images that come out, in pixels."""
WORKERS = 2
"""Threads or processes that a contestant may start, and CPUs that it may use."""


@dataclass(frozen=True)
class Material:
    """A folder with the photographs in every form that a contestant reads."""

    folder: Path

    @property
    def tree(self) -> Path:
        """Class folders of JPEGs."""
        return self.folder / "tree"

    @property
    def shards(self) -> Path:
        """The same as shards of this project; the split is ``train``."""
        return self.folder / "shards"

    def beton(self, name: str) -> Path:
        """FFCV's file that the contestant ``name`` has written of the tree."""
        return self.folder / f"{name}.beton"

    @property
    def photographs(self) -> list[Path]:
        return sorted(self.tree.glob("*/*"))

    @property
    def classes(self) -> int:
        return sum(1 for _ in self.tree.iterdir())


def make_material(photos: Path, folder: Path, count: int) -> tuple[Material, int]:
    """Tree and shards of ``count`` images, copies of the photographs in turn; and the bytes."""
    material = Material(folder)
    size = plant(photos, material.tree, count)
    # As many to a shard as ImageNet's 1,024 shards have.
    flags = ("--split", "train", "--samples-per-shard", "1250", "--workers", str(WORKERS))
    command = shard_command(material.tree, material.shards, *flags)
    subprocess.run(command, check=True, capture_output=True)
    return material, size
