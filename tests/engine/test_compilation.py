"""What one process has compiled, another finds, on whatever node it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.compilation import load_compiled
from tests.conftest import Command

COMPILING = """
import json, sys, torch
from dataclasses import asdict
from pathlib import Path
from pipeline.engine.compilation import compiled_so_far, load_compiled, save_compiled

folder = Path(sys.argv[1])
before = compiled_so_far()
load_compiled(folder)
x = torch.eye(8, requires_grad=True)
found = []
# Products alone: what else there is to compute would be C++, which takes a minute.
for function in (lambda x: x @ x, lambda x: x @ x @ x):
    compiled = torch.compile(function, dynamic=False)
    for _ in range(2):
        compiled(x).sum().backward()
    found.append(asdict(compiled_so_far()))
    save_compiled(folder)
print(json.dumps([asdict(before), *found]))
"""


def test_another_node_compiles_nothing_anew(tmp_path: Path, command: Command) -> None:
    """Saved in two parts, as a training does: its first step, and later its first evaluation."""
    found: list[list[dict[str, Any]]] = []
    for node in ("one", "other"):
        done = command(
            "-c", COMPILING, tmp_path / "kept", TORCHINDUCTOR_CACHE_DIR=str(tmp_path / node)
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    cold, warm = found
    for counts in (cold, warm):
        assert [c["graphs"] for c in counts] == [0, 1, 2]
        assert 0 == counts[0]["seconds"] < counts[1]["seconds"] < counts[2]["seconds"]
    assert [(c["passes_compiled"], c["passes_from_cache"]) for c in cold] == [
        (0, 0),
        (2, 0),
        (4, 0),
    ]
    assert [(c["passes_compiled"], c["passes_from_cache"]) for c in warm] == [
        (0, 0),
        (0, 2),
        (0, 4),
    ]


def test_a_damaged_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "000.bin").write_bytes(b"no artifact of a compiler")
    load_compiled(tmp_path)
    assert "000.bin is damaged or of another PyTorch" in capsys.readouterr().err


def test_no_folder_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_compiled(tmp_path / "none")
    assert not capsys.readouterr().err
