"""What DALI's decoder refuses is named, and nothing else."""

import io

import numpy as np
from PIL import Image

from pipeline.data.dali.decode_check import DecodeCheck


def jpeg(side: int) -> np.ndarray:
    file = io.BytesIO()
    noise = np.random.default_rng(side).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return np.frombuffer(file.getvalue(), np.uint8)


JPEGS = [jpeg(side) for side in (40, 50, 60, 70)]


def test_decode_check_refuses_just_the_broken_ones() -> None:
    broken = [
        JPEGS[0][: len(JPEGS[0]) // 2],
        np.frombuffer(b"hello, no image", np.uint8),
        np.zeros(0, np.uint8),
    ]
    reasons = DecodeCheck().refusals([JPEGS[1], broken[0], JPEGS[2], *broken[1:], JPEGS[3]])
    assert [reason is None for reason in reasons] == [True, False, True, False, False, True]
