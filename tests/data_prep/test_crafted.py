"""One file per kind of image that people have: what passes decodes in DALI, the rest is named."""

import io
import os
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.writing.image_check import ImageCheck, Size
from pipeline.shards import open_split, read_manifest

dali: Any = pytest.importorskip("nvidia.dali")
fn: Any = pytest.importorskip("nvidia.dali.fn")
types: Any = pytest.importorskip("nvidia.dali.types")

Shard = Callable[..., Any]


def encoded(
    mode: str = "RGB", format: str = "JPEG", width: int = 80, height: int = 60, **options: Any
) -> bytes:
    ramp = np.add.outer(np.arange(height), 2 * np.arange(width)).astype(np.uint8)
    image = Image.fromarray(ramp).convert("RGB").convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(exif=exif)


def huge() -> bytes:
    """A JPEG of 65,500 x 65,500 pixels, by its header."""
    whole = encoded()
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + struct.pack(">HH", 65_500, 65_500) + whole[at + 4 :]


WHOLE = encoded(quality=95)
GOOD = {
    "baseline": WHOLE,
    "grey": encoded("L"),
    "cmyk": encoded("CMYK"),
    "png": encoded(format="PNG"),
    "png_rgba": encoded("RGBA", "PNG"),
    "png_palette": encoded("P", "PNG"),
    "progressive": encoded(progressive=True),
    "rotated": turned(6),
    "mirrored": turned(5),
    "restart_intervals": encoded(restart_marker_blocks=2),
    "444": encoded(subsampling=0),
    "422": encoded(subsampling=1),
    "bytes_behind_the_end": WHOLE + b"\0" * 100,
    "one_pixel": encoded(width=1, height=1),
}
BAD = {
    "truncated": (WHOLE[: len(WHOLE) * 9 // 10], "truncated"),
    "end_marker_lost": (WHOLE[:-2], "truncated"),
    "cut_in_the_header": (WHOLE[:100], "size unreadable"),
    "empty": (b"", "empty file"),
    "garbage": (random.Random(1).randbytes(5000), "not an image"),
    "text": (b"<html>404 not found</html>", "not an image"),
    "huge": (huge(), "more than 178,956,970 pixels"),
    "gif": (encoded("P", "GIF"), "DALI"),
}


def decoded_by_dali(images: Sequence[bytes]) -> list[tuple[int, ...]]:
    """Shapes (H, W, 3) as the decoder of training gives them."""

    @dali.pipeline_def(batch_size=len(images), num_threads=1, device_id=None)
    def graph() -> Any:
        files = fn.external_source(
            source=lambda: [np.frombuffer(image, np.uint8) for image in images], ndim=1
        )
        return fn.decoders.image(files, output_type=types.RGB, adjust_orientation=False)

    pipe: Any = graph()
    pipe.build()
    (batch,) = pipe.run()
    return [batch.at(i).shape for i in range(len(images))]


def test_each_kind_is_judged_as_dali_would(tmp_path: Path, shard: Shard) -> None:
    folder = tmp_path / "kinds" / "train" / "one"
    folder.mkdir(parents=True)
    for name, image in GOOD.items():
        (folder / f"{name}.JPEG").write_bytes(image)
    for name, (image, _) in BAD.items():
        (folder / f"{name}.JPEG").write_bytes(image)
    (folder / "notes.txt").write_text("a file that is no image")
    ran = shard(tmp_path / "kinds", "out", "--shards", 2, "--max-bad", len(BAD) + 1)
    assert ran.code == 0, ran.err
    split = read_manifest(tmp_path / "out").splits["train"]
    reasons = {bad.name.removeprefix("one/"): bad.reason for bad in split.quarantine}
    assert reasons.keys() == {f"{name}.JPEG" for name in BAD} | {"notes.txt"}
    for name, (_, said) in BAD.items():
        assert said in reasons[f"{name}.JPEG"], name
    opened = open_split(tmp_path / "out", "train")
    kept = {opened.name(i)[0]: opened.read(i).tobytes() for i in range(len(opened))}
    assert kept == GOOD, "bytes pass through as they are"
    ids = np.arange(len(opened))
    shapes = decoded_by_dali([opened.read(i).tobytes() for i in ids])
    assert [(h, w, 3) for w, h in opened.sizes(ids).tolist()] == shapes


def test_what_passes_decodes_in_dali_whatever_is_wrong_with_it() -> None:
    """Damage at random places; whatever our faster decoder lets through, DALI must not refuse."""
    check, rng = ImageCheck("full"), random.Random(0)
    originals = [WHOLE, GOOD["progressive"], GOOD["grey"], GOOD["restart_intervals"]]
    if folder := os.environ.get("SAMPLE_PHOTOS"):
        originals += [path.read_bytes() for path in sorted(Path(folder).rglob("*.JPEG"))[:20]]
    damaged = [damage(rng, rng.choice(originals)) for _ in range(300)]
    passed = [image for image in damaged if isinstance(check.judge(image), Size)]
    assert 0 < len(passed) < len(damaged)
    assert len(decoded_by_dali(passed)) == len(passed)


def damage(rng: random.Random, image: bytes) -> bytes:
    data, at = bytearray(image), rng.randrange(len(image))
    match rng.randrange(5):
        case 0:
            del data[at:]
        case 1:
            data[at] ^= 1 << rng.randrange(8)
        case 2:
            data[at:at] = rng.randbytes(20)
        case 3:
            del data[at : at + 20]
        case _:
            data[at : at + 500] = bytes(500)
    return bytes(data)


@pytest.mark.photos
def test_the_photographs_pass_and_decode(tmp_path: Path, shard: Shard) -> None:
    folder = os.environ.get("SAMPLE_PHOTOS")
    if not folder:
        pytest.skip("SAMPLE_PHOTOS names no folder of photographs")
    count = len(list(Path(folder).rglob("*.JPEG")))
    ran = shard(folder, "out", "--workers", 1)
    assert ran.code == 0, ran.err
    opened = open_split(tmp_path / "out", "train")
    assert len(opened) == count
    sizes = opened.sizes(np.arange(count)).tolist()
    for start in range(0, count, 50):
        part = range(start, min(start + 50, count))
        shapes = decoded_by_dali([opened.read(i).tobytes() for i in part])
        assert shapes == [(sizes[i][1], sizes[i][0], 3) for i in part]


def test_equal_images_are_kept_and_counted(tmp_path: Path, shard: Shard) -> None:
    for number, name in enumerate(("a/1", "a/2", "b/3", "b/4")):
        path = tmp_path / "twins" / "train" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(GOOD["444"] if number in (1, 3) else encoded(quality=50 + number))
    ran = shard(tmp_path / "twins", "out", "--workers", 1)
    assert ran.code == 0, ran.err
    assert "1 image kept more than once: a/2.jpg = b/4.jpg" in ran.err
    split = read_manifest(tmp_path / "out").splits["train"]
    assert split.duplicates == [["a/2.jpg", "b/4.jpg"]]
    assert split.samples == 4


def test_images_can_be_made_smaller(tmp_path: Path, shard: Shard) -> None:
    folder = tmp_path / "kinds" / "train" / "one"
    folder.mkdir(parents=True)
    for name, image in GOOD.items():
        (folder / f"{name}.jpg").write_bytes(image)
    flags = ("--max-side", 40, "--quality", 80)
    ran = shard(tmp_path / "kinds", "out", *flags)
    assert ran.code == 0, ran.err
    opened = open_split(tmp_path / "out", "train")
    kept = {opened.name(i)[0]: opened.read(i).tobytes() for i in range(len(opened))}
    sizes = {opened.name(i)[0]: opened.sizes(np.array([i]))[0] for i in range(len(opened))}
    assert kept.pop("one_pixel") == GOOD["one_pixel"], "small ones stay as they are"
    for name, image in kept.items():
        with Image.open(io.BytesIO(image)) as small:
            assert (small.format, small.size) == ("JPEG", (40, 30)), name
            assert tuple(sizes[name]) == small.size
            difference = np.abs(np.asarray(small.convert("RGB"), float) - expected(GOOD[name]))
            assert difference.mean() < 8, name
    split = read_manifest(tmp_path / "out").splits["train"]
    assert (split.options["max_side"], split.options["quality"]) == (40, 80)
    again = shard(tmp_path / "kinds", "out")
    assert again.code == 2
    assert "--max-side 40, now not given" in again.err
    assert "nothing to do" in shard(tmp_path / "kinds", "out", *flags).err


def expected(image: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(image)) as opened:
        return np.asarray(opened.convert("RGB").resize((40, 30)), float)


def test_a_quality_alone_is_refused(pets: Path, shard: Shard) -> None:
    assert "--quality is that of images that --max-side" in shard(pets, "out", "--quality", 80).err
