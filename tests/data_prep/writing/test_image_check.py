"""What the checks let in and what they keep out, and why."""

import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from data_prep.writing.image_check import MAX_PIXELS, ImageCheck, Refusal, Size, header

Jpeg = Callable[..., bytes]


@pytest.fixture(scope="module")
def full() -> ImageCheck:
    pytest.importorskip("nvidia.dali")
    return ImageCheck("full")


def tiny_png(width: int, height: int) -> bytes:
    about = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", about), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_good_images_give_their_size(full: ImageCheck, jpeg: Jpeg) -> None:
    images = [jpeg(0, 30, 20), jpeg(1, 8, 9, "PNG"), jpeg(2, 50, 40, "WEBP"), jpeg(3) + b"tail"]
    assert [full.judge(image) for image in images] == [
        Size(30, 20),
        Size(8, 9),
        Size(50, 40),
        Size(24, 16),
    ]


def test_orientation_is_not_applied(full: ImageCheck, jpeg: Jpeg) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    data = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    segment = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
    turned = jpeg(0, 30, 20)[:2] + segment + jpeg(0, 30, 20)[2:]
    assert full.judge(turned) == Size(30, 20)


def test_damaged_files_are_refused_with_a_reason(full: ImageCheck, jpeg: Jpeg) -> None:
    whole = jpeg(0, 80, 60)
    bad = [whole[: len(whole) // 2], whole[:-10], whole[:100], b"", b"not an image at all"]
    verdicts = [full.judge(image) for image in (whole, *bad, whole)]
    assert verdicts[0] == verdicts[-1] == Size(80, 60)
    reasons = [verdict.reason for verdict in verdicts[1:-1] if isinstance(verdict, Refusal)]
    assert len(reasons) == len(bad)
    assert "truncated" in reasons[0]
    assert reasons[3:] == ["empty file", "size unreadable: not an image"]
    assert all(reason and "\n" not in reason for reason in reasons)


def test_bombs_are_refused_unopened(full: ImageCheck) -> None:
    for bomb in (tiny_png(30_000, 30_000), tiny_png(MAX_PIXELS // 2 + 1, 2)):
        verdict = full.judge(bomb)
        assert isinstance(verdict, Refusal)
        assert f"more than {MAX_PIXELS:,} pixels" in verdict.reason


def test_headers_alone_miss_truncation_but_not_garbage(jpeg: Jpeg) -> None:
    whole = jpeg(0, 80, 60)
    verdicts = [ImageCheck("header").judge(image) for image in (whole[:-500], b"text", b"")]
    assert verdicts[0] == Size(80, 60)
    assert verdicts[1:] == [Refusal("size unreadable: not an image"), Refusal("empty file")]


def test_every_cut_of_a_header_is_judged(jpeg: Jpeg) -> None:
    whole = jpeg(0)
    for length in range(0, 700, 7):
        assert isinstance(header(whole[:length]), Size | Refusal)
