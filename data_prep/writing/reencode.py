"""Smaller images on request: a longest side, and the quality of the JPEGs that it makes."""

import io
from dataclasses import dataclass

from data_prep.writing.image_check import Size

DEFAULT_QUALITY = 90


@dataclass(frozen=True)
class Reencode:
    """``--max-side`` and ``--quality``."""

    max_side: int
    """Pixels. Larger images are scaled down to it; the others keep their bytes."""
    quality: int
    """Of JPEG, 1 to 100, as libjpeg counts."""

    def apply(self, image: bytes, size: Size) -> tuple[bytes, Size]:
        """The image to store and its size: Lanczos with antialias, as stored (EXIF is dropped).

        What PIL cannot decode, though DALI can, stays as it is.
        """
        longest = max(size.width, size.height)
        if longest <= self.max_side:
            return image, size
        target = Size(
            max(1, round(size.width * self.max_side / longest)),
            max(1, round(size.height * self.max_side / longest)),
        )
        # Only those who ask for it pay for the import.
        from PIL import Image

        try:
            with Image.open(io.BytesIO(image)) as opened:
                pixels = opened.convert("L" if opened.mode == "L" else "RGB")
        except (OSError, ValueError, SyntaxError):
            return image, size
        small = pixels.resize((target.width, target.height), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=self.quality, optimize=True)
        return buffer.getvalue(), target
