"""Plain USTAR archives and their DALI index, from one pass over the samples.

webdataset's own writer adds a PAX header per member and cannot resume; these bytes depend on
nothing but names and contents.
"""

import hashlib
import tarfile
from collections.abc import Sequence
from typing import BinaryIO

_BLOCK = tarfile.BLOCKSIZE
_RECORD = tarfile.RECORDSIZE  # archives end on whole records, as tar programs write them


class TarWriter:
    """Appends regular files (mtime 0, owner 0, mode 0644) and hashes what it writes."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._hash = hashlib.sha256()
        self.bytes = 0

    def add(self, name: str, data: bytes) -> int:
        """Append a member (name: at most 100 ASCII bytes); returns the offset of its data."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        assert len(name) <= tarfile.LENGTH_NAME, f"member name too long for USTAR: {name}"
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self.bytes
        self._write(data)
        self._write(b"\0" * (-len(data) % _BLOCK))
        return offset

    def close(self) -> str:
        """Write the end of the archive; returns the sha256 (hex) of all of it."""
        end = self.bytes + 2 * _BLOCK
        self._write(b"\0" * (2 * _BLOCK + -end % _RECORD))
        return self._hash.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)


def index_text(
    keys: Sequence[str], offsets: Sequence[int], sizes: Sequence[int], digits: int
) -> str:
    """The index of a shard, byte for byte as DALI's ``wds2idx`` (v1.2) writes it.

    offsets and sizes: (N,) bytes, of the JPEGs; digits: width of a ``.cls`` member.
    """
    lines = [f"v1.2 {len(keys)}\n"]
    for key, offset, size in zip(keys, offsets, sizes, strict=True):
        label_offset = offset + size + -size % _BLOCK + _BLOCK
        lines.append(f"jpg {offset} {size} {key}.jpg cls {label_offset} {digits} {key}.cls\n")
    return "".join(lines)
