"""Writes one shard: read, check, tar, index, record. Any process may do any shard."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from data_prep.durable import new_file, write_file
from data_prep.image_check import MAX_FILE_BYTES, ImageCheck, Refusal, Size
from data_prep.shard_plan import ShardTask
from data_prep.tar_writer import TarWriter, index_text
from data_prep.work_folder import ShardRecord, WorkFolder
from pipeline.errors import DataError
from pipeline.shards import SAMPLE_DTYPE, Quarantined, ShardEntry, index_name, pack_name

_BATCH_IMAGES = 32
_BATCH_BYTES = 64 << 20

Progress = Callable[[int, int], None]
"""Called with images and bytes done since the last call."""


def write_shard(task: ShardTask, check: ImageCheck, progress: Progress) -> None:
    """Write the shard of a task and record it.

    Raises DataError where the source changes underneath, where no image is good, or where a
    shard that is written again comes out other than it was.
    """
    contents = _Contents(task)
    with new_file(task.out / task.name) as file:
        tar = TarWriter(file)
        for positions, images in _batches(task, contents):
            for i, image, verdict in zip(positions, images, check.judge(images), strict=True):
                contents.add(tar, i, image, verdict)
            progress(len(images), sum(map(len, images)))
        entry = ShardEntry(task.name, tar.close(), tar.bytes, len(contents.rows))
        _accept(task, entry)
    write_file(task.out / index_name(task.name), contents.index().encode())
    rows = np.array(contents.rows, SAMPLE_DTYPE)
    record = ShardRecord(entry, rows, bytes(contents.names), contents.quarantine)
    WorkFolder(task.out, task.split).record(task.index, record)


@dataclass
class _Contents:
    """What has gone into the shard so far."""

    task: ShardTask
    rows: list[tuple[int, ...]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    names: bytearray = field(default_factory=bytearray)
    quarantine: list[Quarantined] = field(default_factory=list)

    def add(self, tar: TarWriter, i: int, image: bytes, verdict: Size | Refusal) -> None:
        """Append sample ``i`` of the task, or quarantine it."""
        task = self.task
        if isinstance(verdict, Refusal):
            self.refuse(i, verdict.reason)
            return
        key, label = task.keys[i], task.labels[i]
        offset = tar.add(f"{key}.jpg", image)
        tar.add(f"{key}.cls", f"{label:0{task.label_digits}d}".encode())
        size = (verdict.width, verdict.height)
        self.rows.append((task.index, offset, len(image), *size, label, len(self.names)))
        self.keys.append(key)
        self.names += pack_name(key, task.entries[i].name)

    def refuse(self, i: int, reason: str) -> None:
        self.quarantine.append(Quarantined(self.task.entries[i].name, reason))

    def index(self) -> str:
        offsets, sizes = [row[1] for row in self.rows], [row[2] for row in self.rows]
        return index_text(self.keys, offsets, sizes, self.task.label_digits)


def _batches(task: ShardTask, contents: _Contents) -> Iterator[tuple[list[int], list[bytes]]]:
    """Positions and files in shard order, few enough at a time to fit into memory."""
    positions: list[int] = []
    images: list[bytes] = []
    for i, entry in enumerate(task.entries):
        if entry.bytes > MAX_FILE_BYTES:
            contents.refuse(i, f"{entry.bytes:,} bytes, more than {MAX_FILE_BYTES:,}")
            continue
        positions.append(i)
        images.append(task.reader.read(entry))
        if len(images) == _BATCH_IMAGES or sum(map(len, images)) >= _BATCH_BYTES:
            yield positions, images
            positions, images = [], []
    if images:
        yield positions, images


def _accept(task: ShardTask, entry: ShardEntry) -> None:
    """Raises DataError for a tar that must not get its name."""
    if not entry.samples:
        raise DataError(
            f"{entry.name} would be empty: all of its {len(task.entries)} images are refused; "
            "remove them from the source or use fewer --shards"
        )
    if task.expected_sha256 is not None and task.expected_sha256 != entry.sha256:
        raise DataError(
            f"{entry.name} written again has sha256 {entry.sha256[:12]}, the manifest says "
            f"{task.expected_sha256[:12]}: images changed under "
            "their old names and sizes, or another DALI refuses others; write into another OUT"
        )
