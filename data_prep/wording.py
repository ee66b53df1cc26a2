"""How names and counts are put into messages."""

from collections.abc import Iterable
from pathlib import Path

_SHOWN = 3


def printable(name: str | Path) -> str:
    """A file name as one line of printable text; other characters become escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


def named(names: Iterable[str], shown: int = _SHOWN) -> str:
    """``a, b, c and 7 more``."""
    every = [printable(name) for name in names]
    more = f" and {len(every) - shown} more" if len(every) > shown else ""
    return ", ".join(every[:shown]) + more


def plural(count: int, noun: str) -> str:
    """``1 image``, ``1,281,167 images``, ``3 classes``."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{ending}"


def in_bytes(size: int) -> str:
    """``3.6 MB``, ``145.0 GB``."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
