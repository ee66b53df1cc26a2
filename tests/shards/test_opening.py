"""Opening a split: what is damaged, changed or unreadable is named, with what mends it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import DataError, UserError
from pipeline.shards import open_split
from tests.shards.conftest import IMAGES, NAMES, lay_out


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("toy-train-0001.tar", None, "toy-train-0001.tar is missing"),
        ("toy-train-0000.tar", b"short", "toy-train-0000.tar has 5 bytes, the manifest says 19"),
        ("toy-train-0000.idx", None, "toy-train-0000.idx is missing"),
        ("toy-train-0001.idx", b"stale", r"toy-train-0001.idx has sha256 \w{12}, the manifest"),
        ("toy-train.samples.npy", None, "toy-train.samples.npy is missing"),
        ("toy-train.names.bin", b"x", "toy-train.names.bin has 1 bytes, the manifest says"),
    ],
)
def test_damage_is_named(root: Path, name: str, content: bytes | None, said: str) -> None:
    if content is None:
        (root / name).unlink()
    else:
        (root / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as raised:
        open_split(root, "train")
    assert f"`python data_prep/verify.py {root} --repair SOURCE`" in str(raised.value)


@pytest.mark.parametrize("name", ["toy-train.samples.npy", "toy-train.names.bin"])
def test_a_changed_side_file_of_the_same_size_is_refused(root: Path, name: str) -> None:
    """One bit of an offset, and the wrong bytes would be read."""
    content = bytearray((root / name).read_bytes())
    content[-1] ^= 1
    (root / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} has sha256"):
        open_split(root, "train")


def test_all_that_is_wrong_is_told_in_order(root: Path) -> None:
    for path in [*root.glob("*.tar"), *root.glob("*.idx")]:
        path.unlink()
    with pytest.raises(DataError) as raised:
        open_split(root, "train")
    assert [line.strip() for line in str(raised.value).splitlines()[1:5]] == [
        "toy-train-0000.tar is missing",
        "toy-train-0000.idx is missing",
        "toy-train-0001.tar is missing",
        "toy-train-0001.idx is missing",
    ]


def test_an_unknown_split_lists_those_there_are(root: Path) -> None:
    with pytest.raises(UserError, match="holds the splits train, not 'validation'"):
        open_split(root, "validation")


@pytest.fixture
def public() -> Iterator[Path]:
    """A shard folder that everybody may enter, in a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "shards").mkdir()
        yield lay_out(Path(folder) / "shards", [IMAGES[:2], IMAGES[2:]], NAMES)


@pytest.mark.usefixtures("as_nobody")
def test_everybody_may_read_what_everybody_may(public: Path) -> None:
    assert len(open_split(public, "train")) == len(IMAGES)


@pytest.mark.parametrize(
    "name", ["toy-train-0001.tar", "toy-train-0001.idx", "toy-train.samples.npy"]
)
def test_a_file_without_the_right_to_read_it(
    public: Path, name: str, request: pytest.FixtureRequest
) -> None:
    (public / name).chmod(0)
    request.getfixturevalue("as_nobody")
    with pytest.raises(DataError, match=rf"{name} cannot be read \(Permission denied\)") as raised:
        open_split(public, "train")
    assert f"`chmod a+r {public / name}`" in str(raised.value)


@pytest.mark.parametrize("name", ["manifest.json", "."])
def test_a_folder_without_the_right_to_read_it(
    public: Path, name: str, request: pytest.FixtureRequest
) -> None:
    (public / name).chmod(0)
    request.getfixturevalue("as_nobody")
    with pytest.raises(UserError, match=r"manifest\.json cannot be read \(Permission denied\)"):
        open_split(public, "train")


def test_a_split_that_is_moved_is_whole(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy")
    assert [open_split(tmp_path / "copy", "train").name(i) for i in range(3)] == NAMES
