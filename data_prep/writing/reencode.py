"""Smaller images on request: a longest side, and the quality of the JPEGs that it makes."""

import io

from data_prep.shard_plan import Reencode
from data_prep.writing.image_check import Size


def reencoded(image: bytes, size: Size, to: Reencode) -> tuple[bytes, Size]:
    """The image to store and its size: Lanczos with antialias, as stored (EXIF is dropped).

    What PIL cannot decode, though DALI can, stays as it is.
    """
    longest = max(size)
    if longest <= to.max_side:
        return image, size
    target = Size(
        max(1, round(size.width * to.max_side / longest)),
        max(1, round(size.height * to.max_side / longest)),
    )
    # Only those who ask for it pay for the import.
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image)) as opened:
            pixels = opened.convert("L" if opened.mode == "L" else "RGB")
    except (OSError, ValueError, SyntaxError):
        return image, size
    buffer = io.BytesIO()
    small = pixels.resize(target, Image.Resampling.LANCZOS)
    small.save(buffer, "JPEG", quality=to.quality, optimize=True)
    return buffer.getvalue(), target
