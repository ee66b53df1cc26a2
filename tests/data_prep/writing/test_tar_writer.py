"""The archive against Python's tarfile, the index against DALI's own wds2idx."""

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from data_prep.writing.tar_writer import TarWriter, index_text

IMAGES = [b"", b"x" * 511, b"x" * 512, b"x" * 513, b"x" * 20_000]


def write(path: Path) -> tuple[list[int], str]:
    with path.open("wb") as file:
        tar = TarWriter(file)
        offsets: list[int] = []
        for i, image in enumerate(IMAGES):
            offsets.append(tar.add(f"key_{i}.jpg", image))
            tar.add(f"key_{i}.cls", b"%03d" % i)
        return offsets, tar.close()


def test_the_archive_is_what_tarfile_writes(tmp_path: Path) -> None:
    _, sha256 = write(tmp_path / "ours.tar")
    theirs = io.BytesIO()
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for i, image in enumerate(IMAGES):
            for name, data in ((f"key_{i}.jpg", image), (f"key_{i}.cls", b"%03d" % i)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    assert (tmp_path / "ours.tar").read_bytes() == theirs.getvalue()
    assert sha256 == hashlib.sha256(theirs.getvalue()).hexdigest()


def test_members_are_plain_ustar(tmp_path: Path) -> None:
    write(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = tar.getmembers()
        assert tar.pax_headers == {}
    assert [m.name for m in members[:3]] == ["key_0.jpg", "key_0.cls", "key_1.jpg"]
    assert len(members) == 2 * len(IMAGES)
    for member in members:
        facts = (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode)
        assert facts == (0, 0, 0, "", "", 0o644)
        assert member.type == tarfile.REGTYPE
        assert member.pax_headers == {}


def test_offsets_point_at_the_data(tmp_path: Path) -> None:
    offsets, _ = write(tmp_path / "a.tar")
    content = (tmp_path / "a.tar").read_bytes()
    for offset, image in zip(offsets, IMAGES, strict=True):
        assert content[offset : offset + len(image)] == image


def test_the_index_is_that_of_wds2idx(tmp_path: Path) -> None:
    script = shutil.which("wds2idx", path=Path(sys.executable).parent)
    if script is None:
        pytest.skip("nvidia-dali is not installed")
    offsets, _ = write(tmp_path / "a.tar")
    subprocess.run(
        [script, tmp_path / "a.tar", tmp_path / "a.idx"], check=True, capture_output=True
    )
    keys = [f"key_{i}" for i in range(len(IMAGES))]
    ours = index_text(keys, offsets, [len(image) for image in IMAGES], digits=3)
    assert ours.encode() == (tmp_path / "a.idx").read_bytes()


def test_names_that_ustar_cannot_hold_are_our_own_slip(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as file, pytest.raises(AssertionError, match="too long"):
        TarWriter(file).add("x" * 101, b"")
