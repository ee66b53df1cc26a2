"""The folder in which the watchers of a job leave what they saw of their ranks, and the verdict."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from pipeline.durable import write_file
from pipeline.watchdog.verdict import Culprit, Report, Verdict


def stuck_folder(logs: Path, job_id: str | None, attempt: int) -> Path:
    """Of one attempt of a job; it exists only if ranks were stuck. job_id: no array's index."""
    return logs / "stuck" / f"{job_id or 'local'}-{attempt}"


def read_verdict(folder: Path) -> Verdict | None:
    """What the watchers of an attempt found; None where no rank was stuck."""
    try:
        found = json.loads((folder / "verdict.json").read_bytes())
    except FileNotFoundError:
        return None
    culprits = (Culprit(**{**c, "stack": tuple(c["stack"])}) for c in found["culprits"])
    return Verdict(tuple(culprits), found["text"])


def newest_verdict(logs: Path, since_s: float) -> Verdict | None:
    """Of any attempt, written since that time (seconds since the epoch)."""
    written = [(path.stat().st_mtime, path) for path in logs.glob("stuck/*/verdict.json")]
    at_s, path = max(written, default=(0.0, logs))
    return read_verdict(path.parent) if at_s >= since_s else None


class Board:
    """Raises OSError from every method where the file system refuses."""

    def __init__(self, folder: Path):
        self._folder = folder

    def clear(self) -> None:
        """Forget an earlier start under the same name: those on one machine have no number."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def post(self, report: Report) -> None:
        """Leave a rank's report."""
        self._write(f"{report.rank}.json", asdict(report))

    def post_verdict(self, verdict: Verdict) -> None:
        """Leave the verdict."""
        self._write("verdict.json", asdict(verdict))

    def names(self) -> set[str]:
        """Ranks that have reported, as texts, and ``verdict``."""
        # NFS may remember for a minute that a folder is missing or empty, until it is opened.
        for folder in (*reversed(self._folder.parents[:3]), self._folder):
            try:
                os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
            except FileNotFoundError:
                return set()
        return {path.stem for path in self._folder.glob("[0-9v]*.json")}

    def reports(self) -> list[Report]:
        """All of them, by rank."""
        found: list[Report] = []
        for path in self._folder.glob("[0-9]*.json"):
            told = json.loads(path.read_bytes())
            found.append(
                Report(**{**told, "blocked": tuple(told["blocked"]), "stack": tuple(told["stack"])})
            )
        return sorted(found, key=lambda report: report.rank)

    def _write(self, name: str, content: object) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=1)
        write_file(self._folder / name, text.encode(), survives_power_loss=False)
