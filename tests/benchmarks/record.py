"""What every result says besides its figures: the machine, the command, the date, the versions."""

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"


def write_result(name: str, figures: dict[str, Any], packages: Sequence[str] = ()) -> Path:
    """Write ``results/<name>.json`` and print it; packages: those whose versions matter."""
    result = {
        "benchmark": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": shlex.join(
            ["python", os.path.relpath(sys.argv[0], ROOT), *map(_word, sys.argv[1:])]
        ),
        "machine": {
            "processor": _processor(),
            "cpus": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "system": f"{platform.system()} {platform.release()}",
        },
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
            "commit": _commit(),
        },
        "figures": figures,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path.read_text(), end="")
    return path


def summary(values: Sequence[float], digits: int = 3) -> dict[str, Any]:
    """Median and all values."""
    return {
        "median": round(statistics.median(values), digits),
        "all": [round(value, digits) for value in values],
    }


def _word(argument: str) -> str:
    """Where somebody keeps a folder is nobody else's concern."""
    return "FOLDER" if Path(argument).is_dir() else argument


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"
