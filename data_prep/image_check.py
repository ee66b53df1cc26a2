"""Which images may enter a shard, and how large they are: PIL reads headers, DALI decides."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pipeline.data.dali import DecodeCheck

Check = Literal["full", "header"]

MAX_PIXELS = 178_956_970
"""Pixels of an image, by its header, that nobody decodes: 512 MiB as RGB, PIL's own limit."""
MAX_FILE_BYTES = 1 << 30
"""Bytes of a source file that are never read: no photograph is that large."""


@dataclass(frozen=True)
class Size:
    """Pixels as stored in the file; EXIF orientation is not applied."""

    width: int
    height: int


@dataclass(frozen=True)
class Refusal:
    """Why an image stays out."""

    reason: str


class ImageCheck:
    """Judges files by their headers and, with ``check="full"``, by DALI's CPU decoder."""

    def __init__(self, check: Check):
        self._check: Check = check
        self._decoder: DecodeCheck | None = None

    def judge(self, images: Sequence[bytes]) -> list[Size | Refusal]:
        """images: (N,) files. Returns (N,): the size of a good one, the reason against a bad one.

        PIL only has to tell the size, from the header; whether the image decodes is DALI's word
        alone. Without a size nobody knows what decoding would cost: DALI is not asked then.
        """
        found = [header(image) for image in images]
        if self._check == "header":
            return found
        decodable = [i for i, size in enumerate(found) if isinstance(size, Size)]
        reasons = self._ask_decoder([images[i] for i in decodable])
        for i, reason in zip(decodable, reasons, strict=True):
            if reason is not None:
                found[i] = Refusal(reason)
        return found

    def _ask_decoder(self, images: Sequence[bytes]) -> list[str | None]:
        if self._decoder is None:
            # DALI takes a second to import: only processes that decode pay for it.
            from pipeline.data.dali import DecodeCheck

            self._decoder = DecodeCheck(threads=1)
        return self._decoder.refusals([np.frombuffer(image, np.uint8) for image in images])


def header(image: bytes) -> Size | Refusal:
    """Size of an image from its header, without decoding it."""
    if not image:
        return Refusal("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image)) as opened:
                width, height = opened.size
    except Image.DecompressionBombError:
        return Refusal(f"more than {MAX_PIXELS:,} pixels")
    except Exception as error:  # noqa: BLE001 - PIL's parsers raise whatever a header leads to
        return Refusal(f"size unreadable: {_one_line(error)}")
    if width * height > MAX_PIXELS:
        return Refusal(f"{width}x{height} is more than {MAX_PIXELS:,} pixels")
    if width * height == 0:
        return Refusal(f"{width}x{height} holds no pixels")
    return Size(width, height)


def _one_line(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]
