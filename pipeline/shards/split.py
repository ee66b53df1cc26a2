"""One split of a shard folder: rows, names and images by sample id."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards.files import names_name, repair_command, samples_name
from pipeline.shards.manifest import Manifest
from pipeline.shards.tar import Tar


class ShardSplit:
    """A split, opened for random access; sample ids are 0..len-1."""

    def __init__(self, root: Path, manifest: Manifest, split: str):
        self.root = root
        self.dataset = manifest.dataset
        self.split = split
        self.classes = manifest.classes
        self.manifest = manifest.splits[split]
        self.digest = self.manifest.digest
        self.shard_lengths: list[int] = [shard.samples for shard in self.manifest.shards]
        self.staged: Path | None = None
        """Folder in which whole copies of some shards may appear at any time."""
        self._mend = f"make it readable on this node, or repair it: `{repair_command(root)}`"
        names = (samples_name(manifest.dataset, split), names_name(manifest.dataset, split))
        self._rows: NDArray[np.void] = np.load(root / names[0], mmap_mode="r")
        self._names_path = root / names[1]

    def __len__(self) -> int:
        return len(self._rows)

    def labels(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """ids: (B,) sample ids. Returns (B,) labels."""
        return self._rows["label"][ids].astype(np.int64)

    def sizes(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """ids: (B,) sample ids. Returns (B, 2): width and height in pixels."""
        rows = self._rows[ids]
        return np.stack([rows["width"], rows["height"]], axis=1).astype(np.int64)

    def rows(self, ids: NDArray[np.int64]) -> NDArray[np.void]:
        """ids: (B,) sample ids. Returns (B,) SAMPLE_DTYPE."""
        return self._rows[ids]

    def tar_place(self, shard: int) -> tuple[str, str]:
        """Where to read a shard now, for Tar: its path, and the remedy if that fails.

        That is the staged copy from the moment at which it is there.
        """
        if (copy := self.staged_tar(shard)) is not None:
            return copy, "delete this copy, so that it is made anew, or set data.stage_to=null"
        return f"{self.root}/{self.manifest.shards[shard].name}", self._mend

    def staged_tar(self, shard: int) -> str | None:
        """The copy of a shard, if one of the right size is there."""
        if self.staged is None:
            return None
        entry = self.manifest.shards[shard]
        copy = f"{self.staged}/{entry.name}"
        try:
            return copy if os.stat(copy).st_size == entry.bytes else None
        except OSError:  # the original serves
            return None

    def read(self, sample: int) -> NDArray[np.uint8]:
        """The JPEG file of a sample: (bytes,) uint8.

        Raises DataError where its shard cannot be read. For many samples, see data.reading.
        """
        row = self._rows[sample]
        image = np.empty(int(row["bytes"]), np.uint8)
        Tar(*self.tar_place(int(row["shard"]))).read_into(image, int(row["offset"]))
        return image

    def name(self, sample: int) -> tuple[str, str]:
        """Key and original relative name of a sample."""
        with self._names_path.open("rb") as file:
            file.seek(int(self._rows[sample]["name_offset"]))
            record = b""
            while record.count(b"\0") < 2:
                chunk = file.read(512)
                if not chunk:
                    raise DataError(f"{self._names_path} ends inside the name of sample {sample}")
                record += chunk
        key, original = record.split(b"\0")[:2]
        return key.decode(), original.decode(errors="surrogateescape")
