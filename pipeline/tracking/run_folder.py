"""The folder of one run: the paths in it, run.json, and finding a run by its name."""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.durable import write_file
from pipeline.errors import DataError, UserError
from pipeline.tracking.locks import exclusive


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run; nothing is created by asking for them."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.resolved.yaml"

    @property
    def info(self) -> Path:
        return self.path / "run.json"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def progress(self) -> Path:
        """Where the training is, for whoever shows it."""
        return self.path / "progress.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def saved_step(self) -> int:
        """The step of the newest checkpoint, by its name and mark alone; 0 before the first."""
        names = (path.parent.name for path in self.checkpoints.glob("step-*/COMMITTED"))
        steps = (name.removeprefix("step-") for name in names)
        # Half-written ones are named step-N.attempt-R.tmp.
        return max((int(step) for step in steps if step.isdigit()), default=0)

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def code(self) -> Path:
        return self.path / "code"

    @property
    def artifacts(self) -> Path:
        """Files about the run that belong beside it in MLflow."""
        return self.path / "artifacts"

    @property
    def export(self) -> Path:
        return self.path / "export"

    @property
    def cursor(self) -> Path:
        """How far the journal has been uploaded, and to which MLflow run."""
        return self.path / "tracking.cursor.json"

    @property
    def lock(self) -> Path:
        """Held by the one uploader that is at work."""
        return self.path / "tracking.lock"

    @property
    def tracking_log(self) -> Path:
        return self.logs / "tracking.log"

    @property
    def exists(self) -> bool:
        """Whether this is a run folder at all."""
        # The last is all that a run has whose first job waits.
        files = (self.journal, self.info, self.config, self.path / "jobs.jsonl")
        return any(path.is_file() for path in files)


def list_runs(runs_root: Path | str = "runs") -> list[Path]:
    """The run folders under ``runs_root``, sorted by name; none where it does not exist."""
    root = Path(runs_root)
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and RunFolder(path).exists)


def resolve_run(name_or_path: str, runs_root: Path | str = "runs") -> Path:
    """The folder of a run, given its path or its name under ``runs_root``.

    Raises UserError that lists near names where there is no such run.
    """
    for candidate in (Path(runs_root) / name_or_path, Path(name_or_path)):
        if RunFolder(candidate).exists:
            return candidate
    names = [path.name for path in list_runs(runs_root)]
    near = difflib.get_close_matches(Path(name_or_path).name, names, n=3, cutoff=0.4)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif names:
        hint = f"runs there: {', '.join(names[:10])}"
    else:
        hint = "there are no runs yet; --runs-root names another folder"
    raise UserError(f"run {name_or_path!r}: no run folder of this name under {runs_root}; {hint}")


def read_run_info(run_folder: Path) -> dict[str, Any]:
    """run.json, or an empty dict where there is none. Raises DataError where it is damaged."""
    return read_json(RunFolder(run_folder).info)


def update_run_info(run_folder: Path, **facts: Any) -> dict[str, Any]:
    """Merge ``facts`` into run.json and return the whole of it.

    Atomic, also against another process that updates it at the same time.
    """
    folder = RunFolder(run_folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    with exclusive(folder.path / ".run.json.lock"):
        info = read_json(folder.info) | facts
        write_json(folder.info, info)
    return info


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where the file is missing. Raises DataError if damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{path}: damaged JSON ({error}); restore it or remove it") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds no JSON object; restore it or remove it")
    return value


def write_json(path: Path, value: dict[str, Any], survives_power_loss: bool = True) -> None:
    """Replace a file so that a reader, or a crash, sees the old or the new one, never a part."""
    text = json.dumps(value, indent=2) + "\n"
    write_file(path, text.encode(), survives_power_loss)
