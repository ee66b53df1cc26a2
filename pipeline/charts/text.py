"""Text in a picture: escaped, on one line, shortened, and how wide it is about."""

import unicodedata
from html import escape

NAME_CHARACTERS = 34
_WIDE_EM, _NARROW_EM = 1.0, 0.56


def escaped(text: str) -> str:
    """Text for XML: one line, nothing that XML forbids."""
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def shortened(text: str, most: int = NAME_CHARACTERS) -> str:
    """At most ``most`` characters; the middle goes, for names differ at both ends."""
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - head - 1) :]}"


def width_em(text: str) -> float:
    """About how wide a text is, in heights of its font."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return _WIDE_EM * wide + _NARROW_EM * (len(text) - wide)


def text_element(x: float, y: float, text: str, anchor: str = "middle") -> str:
    """``<text>`` at a place in pixels; what is shortened keeps its whole in ``<title>``."""
    short = shortened(text)
    title = "" if short == text else f"<title>{escaped(text)}</title>"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escaped(short)}{title}</text>'
