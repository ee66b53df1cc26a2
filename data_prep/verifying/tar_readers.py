"""A shard as others read it: the webdataset library, and Python's tarfile for the places."""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, BinaryIO

_MAGIC = slice(257, 265)  # of a header: magic and version
_USTAR = tarfile.POSIX_MAGIC
_IMAGE, _LABEL = ".jpg", ".cls"
_META = "__"


class Unreadable(Exception):
    """A reader gave up; the text says why."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one sample or member."""

    name: str
    found: str
    rule: str


@dataclass(frozen=True)
class Places:
    """Where the images of a tar lie. (N,) each."""

    keys: list[str]
    offsets: list[int]
    """Of the first byte."""
    sizes: list[int]
    faults: list[Fault]
    """Members that are not as plain, or not in such pairs, as a DALI index needs them."""


def image_places(file: BinaryIO) -> Places:
    """Walk a tar's headers with tarfile. Raises Unreadable."""
    members: list[tuple[str, int, int]] = []
    faults: list[Fault] = []
    try:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                # Else it keeps all of them; the library does the same.
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                if not _is_plain(member, os.pread(file.fileno(), tarfile.BLOCKSIZE, member.offset)):
                    rule = "members are regular files under plain USTAR headers, without PAX ones"
                    faults.append(Fault(member.name, "is no plain member", rule))
                members.append((member.name, member.offset_data, member.size))
    except Exception as error:  # noqa: BLE001 - tarfile raises whatever a damaged header leads to
        raise Unreadable(f"tarfile: {_one_line(error)}") from None
    images = members[::2]
    for (image, _, _), (label, _, _) in zip_longest(images, members[1::2], fillvalue=("", 0, 0)):
        key = image.partition(".")[0]
        if (image, label) != (key + _IMAGE, key + _LABEL):
            rule = f"a sample is KEY{_IMAGE} and then KEY{_LABEL}"
            faults.append(Fault(key, f"{image} is followed by {label or 'nothing'}", rule))
            break  # all further pairs may be shifted
    return Places(
        [name.removesuffix(_IMAGE) for name, _, _ in images],
        [offset for _, offset, _ in images],
        [size for _, _, size in images],
        faults,
    )


def _is_plain(member: tarfile.TarInfo, header: bytes) -> bool:
    return (
        member.isreg()
        and header[_MAGIC] == _USTAR
        and member.offset_data - member.offset == tarfile.BLOCKSIZE
    )


def import_webdataset() -> None:
    """Import the library, for processes forked later; it imports torch, which takes seconds."""
    import webdataset  # noqa: F401


def each_sample(file: BinaryIO, name: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and parts (suffix -> bytes) of each sample, as webdataset groups them.

    The file stays the caller's to close. Raises Unreadable.
    """
    from webdataset.tariterators import group_by_keys, tar_file_expander

    file.seek(0)
    samples = group_by_keys(tar_file_expander([{"url": name, "stream": file}]))
    while True:
        try:
            sample: dict[str, Any] | None = next(samples, None)
        except Exception as error:  # noqa: BLE001 - readers raise whatever a damaged tar leads to
            raise Unreadable(f"webdataset: {_one_line(error)}") from None
        if sample is None:
            return
        yield sample["__key__"], {k: v for k, v in sample.items() if not k.startswith(_META)}


def _one_line(error: Exception) -> str:
    # The library appends the file object, whose text holds paths.
    text = str(error.args[0]).partition(" @ ")[0] if error.args else ""
    return (text or type(error).__name__).splitlines()[0][:120]
