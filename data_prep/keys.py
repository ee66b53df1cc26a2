"""The key of every sample: a pure function of the names in a split, whatever their order."""

import hashlib
import re
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from data_prep.sources.entries import Entries, decoded

MAX_KEY = 96
"""Characters. USTAR holds 100 bytes of name, ``.jpg`` takes four; the header's prefix field
only helps names with a slash, and keys have none."""

_PLAIN = re.compile(rb"[A-Za-z0-9_-]{1,%d}" % MAX_KEY)
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_HASH_DIGITS = (8, 16, 32, 64)
_CHUNK = 1 << 16


def assign_keys(entries: Entries) -> NDArray[np.bytes_]:
    """(N,) keys of a split's entries, in the same order; unique, ASCII, at most MAX_KEY long.

    The stem where it is plain and unique; else ``<class>_<stem>`` with ``_`` for every other
    character; where that collides or is too long, (cut and) followed by the first 8 hex digits
    of the sha256 of the original name, more digits if even those collide.
    """
    stems = _each(entries.names, _stem)
    plain = np.fromiter((bool(_PLAIN.fullmatch(s)) for s in stems), np.bool_, len(stems))
    settled = plain & _alone(stems)
    if settled.all():
        return stems
    keys = np.where(settled, stems, b"").astype(f"S{MAX_KEY}")
    spelled = {i: _spelled(entries, i, stems[i]) for i in np.flatnonzero(~settled).tolist()}
    _settle(keys, {i: text for i, text in spelled.items() if len(text) <= MAX_KEY})
    for digits in _HASH_DIGITS:
        open_ = [i for i in spelled if not keys[i]]
        _settle(keys, {i: _with_hash(spelled[i], entries.names[i], digits) for i in open_})
    assert np.all(keys != b""), "two entries of a split have the same name"
    return keys


def _settle(keys: NDArray[np.bytes_], proposed: dict[int, bytes]) -> None:
    """Give the proposed keys that nobody else has or proposes."""
    if not proposed:
        return
    indices = np.fromiter(proposed, np.int64, len(proposed))
    texts = np.array(list(proposed.values()), keys.dtype)
    alone = _alone(np.concatenate([texts, keys[keys != b""]]))[: len(texts)]
    keys[indices[alone]] = texts[alone]


def _alone(texts: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """(N,) whether a text occurs once."""
    order = np.argsort(texts, kind="stable")
    same = texts[order[1:]] == texts[order[:-1]]
    alone = np.ones(len(texts), np.bool_)
    alone[order[1:][same]] = alone[order[:-1][same]] = False
    return alone


def _each(names: NDArray[np.bytes_], function: Callable[[bytes], bytes]) -> NDArray[np.bytes_]:
    """Apply a function without holding a Python object per name."""
    starts: Iterable[int] = range(0, len(names), _CHUNK)
    parts = [np.array([function(n) for n in names[s : s + _CHUNK].tolist()]) for s in starts]
    return np.concatenate(parts) if parts else names


def _stem(name: bytes) -> bytes:
    return name.rpartition(b"/")[2].rpartition(b".")[0]


def _spelled(entries: Entries, index: int, stem: bytes) -> bytes:
    class_name = entries.classes[entries.class_indices[index]]
    return _OTHER.sub("_", f"{class_name}_{decoded(stem)}").encode()


def _with_hash(text: bytes, name: bytes, digits: int) -> bytes:
    suffix = hashlib.sha256(name).hexdigest()[:digits].encode()
    return text[: MAX_KEY - 1 - digits] + b"_" + suffix
