"""Image folders made on the spot, and the shard command run on them."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.shard import main
from data_prep.verify import main as verify_main
from pipeline.errors import run_cli

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def jpeg() -> Callable[..., bytes]:
    """``jpeg(seed, width=, height=, format=)``: an encoded image of noise."""

    def encode(seed: int, width: int = 24, height: int = 16, format: str = "JPEG") -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format)
        return buffer.getvalue()

    return encode


@pytest.fixture
def tree(tmp_path: Path, jpeg: Callable[..., bytes]) -> Callable[..., Path]:
    """``tree({"train/cat/a.jpg": None, "train/cat/b.txt": b"..."})``: None makes an image."""

    def plant(files: Mapping[str, bytes | None], name: str = "pets") -> Path:
        root = tmp_path / name
        for number, (path, content) in enumerate(files.items()):
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(jpeg(number, width=20 + number % 7) if content is None else content)
        return root

    return plant


@pytest.fixture
def pets(tree: Callable[..., Path]) -> Path:
    """Two splits of three classes; several shards at ``--samples-per-shard 5``."""
    files = {f"train/{c}/{c}_{i}.jpg": None for c in ("ant", "bee", "cat") for i in range(7)}
    files |= {f"val/{c}/{c}_{i}.jpg": None for c in ("ant", "bee", "cat") for i in range(7, 10)}
    return tree(files)


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def shard_process(tmp_path: Path) -> Callable[..., Ran]:
    """``shard_process(SOURCE, OUT, "--seed", "1")``: the command, started in tmp_path."""

    def run(*arguments: object) -> Ran:
        done = subprocess.run(
            [sys.executable, ROOT / "data_prep" / "shard.py", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """``in_process(main, "shard.py", SOURCE, ...)``: a command, without a new interpreter."""

    def run(command: Callable[[], int], *words: object) -> Ran:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            run_cli(command)
        assert isinstance(left.value.code, int)
        printed = capsys.readouterr()
        return Ran(left.value.code, printed.out, printed.err)

    return run


@pytest.fixture
def shard(in_process: Callable[..., Ran]) -> Callable[..., Ran]:
    """The shard command within this process."""
    return lambda *arguments: in_process(main, "shard.py", *arguments)


@pytest.fixture
def verify(in_process: Callable[..., Ran]) -> Callable[..., Ran]:
    """``verify(OUT, "--json")``: the verify command within this process."""
    return lambda *words: in_process(verify_main, "verify.py", *words, "--workers", 1)


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """All files below a folder: relative name -> bytes."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            os.path.relpath(path, folder): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read
