"""Writes one shard: read, check, tar, index, record. Any process may do any shard."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from data_prep.durable import new_file, write_file
from data_prep.shard_plan import ShardTask
from data_prep.wording import named, plural
from data_prep.writing.duplicates import fingerprint
from data_prep.writing.image_check import MAX_FILE_BYTES, ImageCheck, Refusal, Size
from data_prep.writing.reencode import reencoded
from data_prep.writing.tar_writer import TarWriter, index_text
from data_prep.writing.work_folder import ShardRecord, WorkFolder
from pipeline.errors import DataError
from pipeline.shards import SAMPLE_DTYPE, Quarantined, ShardEntry, index_name, pack_name

_REPORTED_IMAGES = 32

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
        # One image at a time: it is still in the cache when it is hashed and written.
        for start in range(0, len(task.entries), _REPORTED_IMAGES):
            part = range(start, min(start + _REPORTED_IMAGES, len(task.entries)))
            progress(len(part), sum(_take(i, contents, tar, check) for i in part))
        index = contents.index().encode()
        digests = (tar.close(), hashlib.sha256(index).hexdigest())
        entry = ShardEntry(task.name, digests[0], tar.bytes, len(contents.rows), digests[1])
        _accept(task, entry, contents.quarantine)
    write_file(task.out / index_name(task.name), index)
    WorkFolder(task.out, task.split).record(task.index, contents.record(entry))


@dataclass
class _Contents:
    """What has gone into the shard so far."""

    task: ShardTask
    rows: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])
    keys: list[str] = field(default_factory=list[str])
    names: bytearray = field(default_factory=bytearray)
    fingerprints: list[int] = field(default_factory=list[int])
    quarantine: list[Quarantined] = field(default_factory=list[Quarantined])

    def add(self, i: int, image: bytes, size: Size, tar: TarWriter) -> None:
        """Append sample ``i`` of the task."""
        key, label = self.task.keys[i], self.task.labels[i]
        offset = tar.add(f"{key}.jpg", image)
        tar.add(f"{key}.cls", f"{label:0{self.task.label_digits}d}".encode())
        sides = (size.width, size.height)
        self.rows.append((self.task.index, offset, len(image), *sides, label, len(self.names)))
        self.keys.append(key)
        self.names += pack_name(key, self.task.entries[i].name)
        self.fingerprints.append(fingerprint(image))

    def refuse(self, i: int, reason: str) -> None:
        """Quarantine sample ``i``."""
        self.quarantine.append(Quarantined(self.task.entries[i].name, reason))

    def index(self) -> str:
        offsets, sizes = [row[1] for row in self.rows], [row[2] for row in self.rows]
        return index_text(self.keys, offsets, sizes, self.task.label_digits)

    def record(self, entry: ShardEntry) -> ShardRecord:
        return ShardRecord(
            entry,
            np.array(self.rows, SAMPLE_DTYPE),
            bytes(self.names),
            np.array(self.fingerprints, np.uint64),
            self.quarantine,
        )


def _take(i: int, contents: _Contents, tar: TarWriter, check: ImageCheck) -> int:
    """Put image ``i`` into the shard or into the quarantine; returns the bytes read."""
    task = contents.task
    entry = task.entries[i]
    if entry.bytes > MAX_FILE_BYTES:
        contents.refuse(i, f"{entry.bytes:,} bytes, more than {MAX_FILE_BYTES:,}")
        return 0
    image = task.reader.read(entry)
    verdict = check.judge(image)
    if isinstance(verdict, Refusal):
        contents.refuse(i, verdict.reason)
    elif task.reencode is not None:
        contents.add(i, *reencoded(image, verdict, task.reencode), tar)
    else:
        contents.add(i, image, verdict, tar)
    return len(image)


def _accept(task: ShardTask, entry: ShardEntry, bad: Sequence[Quarantined]) -> None:
    """Raises DataError for a tar that must not get its name."""
    if not entry.samples:
        raise DataError(
            f"{entry.name} would be empty: its {plural(len(task.entries), 'image')} cannot be "
            f"used: {named(f'{q.name} ({q.reason})' for q in bad)}; remove them from the source, "
            "or use fewer shards (--shards)"
        )
    if task.expected_sha256 is not None and task.expected_sha256 != entry.sha256:
        raise DataError(
            f"{entry.name} written again has sha256 {entry.sha256[:12]}, the manifest says "
            f"{task.expected_sha256[:12]}: images changed under "
            "their old names and sizes, or another DALI refuses others; write into another OUT"
        )
