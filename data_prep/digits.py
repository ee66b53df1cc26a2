"""Demo data: scikit-learn's handwritten digits as an image folder.

python data_prep/digits.py OUT
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: imports are absolute
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UserError, run_cli
from pipeline.log import info

SIDE_PIXELS = 64
JPEG_QUALITY = 95
_HELD_OUT_EVERY = 5
_BRIGHTEST = 16  # the scans count 0..16


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="digits.py",
        description="Write 1,797 scans of handwritten digits as an image folder with train/ and "
        "val/, ready for shard.py.",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to create")
    out: Path = parser.parse_args().out
    if write_digits(out):
        info(f"wrote {out}; next: python data_prep/shard.py {out} --name digits")
    else:
        info(f"nothing to do: {out} is there; next: python data_prep/shard.py {out} --name digits")
    return 0


def write_digits(out: Path) -> bool:
    """Write ``out/{train,val}/<digit>/digit_NNNN.jpg``, whole or not at all.

    Returns False where it is there already. Raises UserError where something else is.
    """
    if out.exists():
        if (out / "train").is_dir() and (out / "val").is_dir():
            return False
        raise UserError(f"OUT={out} exists and is not the digits; choose another OUT")
    # scikit-learn takes a second to import: not for --help.
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    labels: NDArray[np.int64] = digits.target
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        if temporary.exists():
            shutil.rmtree(temporary)
        for number, (scan, label) in enumerate(zip(digits.images, labels, strict=True)):
            folder = temporary / split_of(number, labels) / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            image = enlarged(scan)
            image.save(folder / f"digit_{number:04d}.jpg", quality=JPEG_QUALITY)
        temporary.rename(out)
    except OSError as error:
        raise UserError(
            f"OUT={out} cannot be written ({error.strerror}); choose another"
        ) from error
    return True


def split_of(number: int, labels: NDArray[np.int64]) -> str:
    """Every fifth scan of each digit is held out."""
    earlier_of_class = int(np.count_nonzero(labels[:number] == labels[number]))
    return "val" if earlier_of_class % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1 else "train"


def enlarged(scan: NDArray[np.float64]) -> Image.Image:
    """scan: (8, 8) of 0..16. Returns an RGB image of 64 by 64 pixels."""
    grey = np.rint(scan * (255 / _BRIGHTEST)).astype(np.uint8)
    size = (SIDE_PIXELS, SIDE_PIXELS)
    return Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB")


if __name__ == "__main__":
    run_cli(main)
