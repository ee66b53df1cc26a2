"""The key of every sample: a pure function of the names in a split, whatever their order."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence

from data_prep.sources import Entry

MAX_KEY = 96
"""Characters. USTAR holds 100 bytes of name, ``.jpg`` takes four; the header's prefix field
only helps names with a slash, and keys have none."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_HASH_DIGITS = (8, 16, 32, 64)


def assign_keys(entries: Sequence[Entry]) -> list[str]:
    """Keys of a split's entries, in the same order; unique, ASCII, at most MAX_KEY long.

    The stem where it is plain and unique; else ``<class>_<stem>`` with ``_`` for every other
    character; where that collides or is too long, (cut and) followed by the first 8 hex digits
    of the sha256 of the original name, more digits if even those collide.
    """
    stems = [entry.name.rpartition("/")[2].rpartition(".")[0] for entry in entries]
    seen = Counter(stems)
    keys: dict[int, str] = {}
    for i, stem in enumerate(stems):
        if seen[stem] == 1 and len(stem) <= MAX_KEY and _PLAIN.fullmatch(stem):
            keys[i] = stem
    spelled = {
        i: _OTHER.sub("_", f"{entry.class_name}_{stems[i]}")
        for i, entry in enumerate(entries)
        if i not in keys
    }
    _settle(keys, {i: text for i, text in spelled.items() if len(text) <= MAX_KEY})
    for digits in _HASH_DIGITS:
        open_ = {i: text for i, text in spelled.items() if i not in keys}
        hashed = {i: _with_hash(text, entries[i].name, digits) for i, text in open_.items()}
        _settle(keys, hashed)
    assert len(keys) == len(entries), "two entries of a split have the same name"
    return [keys[i] for i in range(len(entries))]


def _settle(keys: dict[int, str], proposed: dict[int, str]) -> None:
    """Give the proposed keys that nobody else has or proposes."""
    if not proposed:
        return
    taken = Counter(keys.values()) + Counter(proposed.values())
    keys.update({i: key for i, key in proposed.items() if taken[key] == 1})


def _with_hash(text: str, name: str, digits: int) -> str:
    suffix = hashlib.sha256(os.fsencode(name)).hexdigest()[:digits]
    return f"{text[: MAX_KEY - 1 - digits]}_{suffix}"
