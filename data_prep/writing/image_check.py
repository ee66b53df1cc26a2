"""Which images may enter a shard, and how large they are: headers first, DALI has the last word."""

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import simplejpeg

from data_prep.shard_plan import Check

if TYPE_CHECKING:
    from pipeline.data.dali.decode_check import DecodeCheck

MAX_PIXELS = 178_956_970
"""Pixels of an image, by its header, that nobody decodes: 512 MiB as RGB, PIL's own limit."""
MAX_FILE_BYTES = 1 << 30
"""Bytes of a source file that are never read: no photograph is that large."""

_SMALLEST = 8  # libjpeg-turbo's largest reduction


class Size(NamedTuple):
    """Pixels as stored in the file; EXIF orientation is not applied."""

    width: int
    height: int


@dataclass(frozen=True)
class Refusal:
    """Why an image stays out."""

    reason: str


class ImageCheck:
    """Judges files by their headers and, with ``check="full"``, by decoding them.

    libjpeg-turbo reads every coefficient of a file and computes an eighth of the pixels, in half
    the time. It is stricter than DALI, which uses it too, so what it accepts DALI decodes; what it
    complains of DALI is asked, and only what DALI refuses is bad.
    """

    def __init__(self, check: Check):
        self._check: Check = check
        self._decoder: DecodeCheck | None = None

    def judge(self, image: bytes) -> Size | Refusal:
        """The size of a good file, or the reason against a bad one.

        Without a size nobody knows what decoding would cost: no decoder is asked then.
        """
        size = header(image)
        if self._check == "header" or isinstance(size, Refusal) or _decodes_cleanly(image):
            return size
        reason = self._ask_dali(image)
        return size if reason is None else Refusal(reason)

    def _ask_dali(self, image: bytes) -> str | None:
        if self._decoder is None:
            # DALI takes a second to import: only where something is in doubt.
            from pipeline.data.dali.decode_check import DecodeCheck

            self._decoder = DecodeCheck(threads=1)
        return self._decoder.refusals([np.frombuffer(image, np.uint8)])[0]


def header(image: bytes) -> Size | Refusal:
    """Size of an image from its header, without decoding it."""
    if not image:
        return Refusal("empty file")
    width: int
    height: int
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(image)  # pyright: ignore
    except (ValueError, KeyError):  # no JPEG, or one of a rare kind
        found = _pil_header(image)
        if isinstance(found, Refusal):
            return found
        width, height = found
    if width * height > MAX_PIXELS:
        return Refusal(f"{width}x{height} is more than {MAX_PIXELS:,} pixels")
    if width * height == 0:
        return Refusal(f"{width}x{height} holds no pixels")
    return Size(width, height)


def _pil_header(image: bytes) -> Size | Refusal:
    # Hardly ever needed, and slow to import.
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image)) as opened:
                return Size(*opened.size)
    except Image.DecompressionBombError:
        return Refusal(f"more than {MAX_PIXELS:,} pixels")
    except UnidentifiedImageError:
        return Refusal("size unreadable: not an image")
    except Exception as error:  # noqa: BLE001 - PIL's parsers raise whatever a header leads to
        text = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        return Refusal(f"size unreadable: {text}")


def _decodes_cleanly(image: bytes) -> bool:
    """Whether libjpeg-turbo reads all of a JPEG without any complaint."""
    try:
        simplejpeg.decode_jpeg(
            image,
            colorspace="GRAY",
            fastdct=True,
            fastupsample=True,
            min_height=1,
            min_width=1,
            min_factor=_SMALLEST,
            strict=True,
        )
    except (ValueError, KeyError):
        return False
    return True
