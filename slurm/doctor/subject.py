"""What is examined: a machine, and what a training with some config would ask of it."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config


@dataclass(frozen=True)
class Expected:
    """What the project's files ask of the installed packages."""

    python: str
    """Versions of Python, such as ``>=3.11``."""
    requirements: tuple[str, ...]
    """Lines such as ``torch>=2.8``."""
    locked: tuple[str, ...]
    """Lines such as ``torch==2.14.1``; empty where there is no lock."""


@dataclass(frozen=True)
class Subject:
    """One machine as a place to train."""

    config: Config
    node: str
    """Its name in the report."""
    nodes: int = 1
    """Of the job."""
    ranks: int = 1
    """Of a training on this node: one per GPU where there are GPUs."""
    is_in_job: bool = False
    has_config: bool = True
    """False: the person named none, so nothing is known of shards."""
    expected: Expected | None = None

    @property
    def needs_gpu(self) -> bool:
        return self.config.device == "cuda"


def read_expected(root: Path) -> Expected | None:
    """From pyproject.toml and requirements.lock in ``root``; None where they are not there."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except FileNotFoundError:
        return None
    lock = root / "requirements.lock"
    lines = lock.read_text(encoding="utf-8").splitlines() if lock.is_file() else []
    return Expected(
        project["requires-python"],
        tuple(project["dependencies"]),
        tuple(line for line in lines if "==" in line),
    )


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())
