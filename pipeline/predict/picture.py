"""The picture of a Grad-CAM: what the model was shown, and beside it the same under the map."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.errors import UserError

_SHORTEST_SIDE = 224
_SHARE = 0.5
"""Of the colours of the map in the right half."""


def cam_picture(pixels: NDArray[np.uint8], cam: NDArray[np.float32]) -> Image.Image:
    """pixels: (side, side, 3); cam: (side, side) in 0..1, shown from blue over green to red."""
    crop = Image.fromarray(pixels)
    shades = Image.fromarray(np.rint(255 * cam).astype(np.uint8))
    heat = ImageOps.colorize(shades, black="blue", mid="lime", white="red")
    scale = -(-_SHORTEST_SIDE // crop.width)
    pair = Image.new("RGB", (2 * crop.width, crop.height))
    pair.paste(crop, (0, 0))
    pair.paste(Image.blend(crop, heat, _SHARE), (crop.width, 0))
    return pair.resize((pair.width * scale, pair.height * scale), Image.Resampling.NEAREST)


def picture_paths(out: Path, images: Sequence[Path]) -> list[Path]:
    """One file per image: ``out`` itself if it is meant as one, else numbered files in it.

    Raises UserError where one file is to take several pictures, or there is no folder for it.
    """
    if not out.suffix or out.is_dir():
        width = len(str(len(images)))
        return [out / f"{n:0{width}}_{path.stem}.png" for n, path in enumerate(images, 1)]
    if len(images) > 1:
        raise UserError(f"--cam {out}: one file for {len(images)} images; name a folder")
    if out.suffix.lower() not in Image.registered_extensions():
        raise UserError(f"--cam {out}: {out.suffix} is no image format; use .png")
    if not out.parent.is_dir():
        raise UserError(f"--cam {out}: there is no folder {out.parent}")
    return [out]
