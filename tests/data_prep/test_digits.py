"""The demo data: complete, the same every time, whole or absent."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.digits import write_digits
from pipeline.errors import UserError


def test_digits_are_a_stratified_image_folder(
    tmp_path: Path, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    assert write_digits(tmp_path / "a")
    assert write_digits(tmp_path / "b")
    files = contents(tmp_path / "a")
    assert files == contents(tmp_path / "b")
    assert len(files) == 1797
    assert len({Path(name).name for name in files}) == 1797
    per_class = Counter(tuple(name.split("/")[:2]) for name in files)
    assert len(per_class) == 20
    for digit in "0123456789":
        train, held_out = per_class["train", digit], per_class["val", digit]
        assert held_out == (train + held_out) // 5
    with Image.open(tmp_path / "a" / "train" / "0" / "digit_0000.jpg") as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))
        pixels = np.asarray(image)
    assert (pixels == pixels[..., :1]).all()
    assert pixels.min() == 0
    assert pixels.max() > 230
    assert not write_digits(tmp_path / "a")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a", "b"]


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not the digits"):
        write_digits(tmp_path)


def test_the_command_names_the_next_one(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "data_prep" / "digits.py"
    (tmp_path / "d" / "train").mkdir(parents=True)
    (tmp_path / "d" / "val").mkdir()
    command = [sys.executable, script, "d"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "nothing to do" in ran.stderr
    assert "python data_prep/shard.py d --name digits" in ran.stderr
