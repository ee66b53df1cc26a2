"""Image files to what the model is evaluated on, with PIL: JPEG, PNG, WebP and what else it reads.

Geometry is that of the evaluation. The resize is PIL's, not DALI's; EXIF orientation is not
applied, as everywhere.
"""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.config import Config
from pipeline.data.augment.transforms import eval_transforms
from pipeline.errors import UserError


def read_square(path: Path, config: Config) -> NDArray[np.uint8]:
    """The part that the model sees: (img_size, img_size, 3), RGB.

    Raises UserError for a file that is missing, no image, cut off, or too large to be one.
    """
    return square(_read(path), config)


def square(image: Image.Image, config: Config) -> NDArray[np.uint8]:
    """Short side of an RGB image to img_size / crop_pct, then the centre: see read_square."""
    side = config.augment.img_size
    plan = eval_transforms(config.evaluate, side, np.array([image.size], np.int64))
    width, height = plan.resized[0].tolist()
    left, top = plan.crops[0].tolist()
    kind = Image.Resampling.BICUBIC if plan.bicubic[0] else Image.Resampling.BILINEAR
    resized = image.resize((width, height), kind)
    return np.asarray(resized.crop((left, top, left + side, top + side)))


def _read(path: Path) -> Image.Image:
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the images in it: {path}/*")
    try:
        with warnings.catch_warnings():
            # Of odd metadata; and half a bomb is still an image.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return image.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except UnidentifiedImageError:
        raise UserError(
            f"{path} is no image that PIL can read; name JPEG, PNG or WebP files"
        ) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be decoded ({error}); leave it out") from None
