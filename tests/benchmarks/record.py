"""What every result says besides its figures: the machine, the command, the date, the versions."""

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"


def write_result(
    name: str,
    figures: dict[str, Any],
    packages: Sequence[str] = (),
    *,
    device: Mapping[str, Any] | None = None,
    folder: Path = RESULTS,
    is_printed: bool = True,
) -> Path:
    """Write ``<folder>/<name>.json`` and print it; packages: those whose versions matter.

    device: what else the machine has that the figures depend on, such as its GPU.
    """
    result = {
        "benchmark": name,
        "date": today(),
        "command": shlex.join([*_program(), *map(_word, sys.argv[1:])]),
        "machine": {
            "processor": _processor(),
            "cpus": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "system": f"{platform.system()} {platform.release()}",
            **({} if device is None else {"device": dict(device)}),
        },
        "versions": {
            "python": platform.python_version(),
            **{package: _version(package) for package in packages},
            "commit": _commit(),
        },
        "figures": figures,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    if is_printed:
        print(path.read_text(), end="")
    return path


def shard_command(tree: Path, out: Path, *flags: str) -> list[str]:
    """The words that shard the images of ``tree`` into ``out``."""
    return [sys.executable, str(ROOT / "data_prep" / "shard.py"), str(tree), str(out), *flags]


def today() -> str:
    """The date that a result bears, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def summary(values: Sequence[float], digits: int = 3) -> dict[str, Any]:
    """Median and all values."""
    return {
        "median": round(statistics.median(values), digits),
        "all": [round(value, digits) for value in values],
    }


def _program() -> list[str]:
    """``python FILE``, or ``python -m MODULE`` where that is how it was started."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return ["python", "-m", spec.name.removesuffix(".__main__")]
    return ["python", os.path.relpath(sys.argv[0], ROOT)]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _word(argument: str) -> str:
    """Where somebody keeps a folder is nobody else's concern."""
    return "FOLDER" if Path(argument).is_dir() else argument


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
        )
    except FileNotFoundError:  # a machine without git, to which the code was copied
        return "unknown"
    return done.stdout.strip() or "unknown"
