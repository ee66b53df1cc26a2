"""Colours that colour-blind people tell apart, on a light and on a dark ground."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """CSS colours. ``lines`` stand out from the ground by 3:1, ``text`` by 7:1."""

    ground: str
    text: str
    grid: str
    lines: tuple[str, ...]


LIGHT = Theme(
    ground="#ffffff",
    text="#3c434b",
    grid="#e3e6ea",
    lines=("#3b64ab", "#bb4111", "#43925b", "#c64e96", "#4d5658", "#b48b00", "#019ed1", "#7e65ef"),
)
DARK = Theme(
    ground="#15181c",
    text="#c3cad2",
    grid="#2c3239",
    lines=("#2b8dcd", "#f99452", "#1fb27d", "#df92cd", "#a9bab7", "#ddcd41", "#8cdeff", "#978fff"),
)
"""Hue for hue those of LIGHT."""
DASHES = ("", "6 3", "2 3", "9 3 2 3")
"""The first, second, … time round the colours."""


def look(index: int) -> tuple[int, str]:
    """Which colour and which dash (``stroke-dasharray``, empty for none) a line gets."""
    count = len(LIGHT.lines)
    return index % count, DASHES[index // count % len(DASHES)]
