"""A run whose journal a test writes record by record, and what a store has of it."""

import json
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from mlflow import MlflowClient

from pipeline.tracking import RunFolder, read_run_info, update_run_info
from pipeline.tracking.journal import Journal
from pipeline.tracking.upload.sync import SyncResult, sync_runs

BEGAN_MS = 1_700_000_000_000
DIGESTS = {"train": "ab" * 32, "validation": "cd" * 32}


class MadeRun:
    """Steps are a second apart. Its process is of another host, so the run is never lost."""

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self._now_ms = BEGAN_MS
        self.experiment = f"experiment-{uuid.uuid4().hex[:8]}"
        update_run_info(
            folder.path, run_key=uuid.uuid4().hex, name="digits", experiment=self.experiment
        )
        self.journal = Journal(folder.journal, self._clock_ms)
        process = {"pid": 1, "host": "elsewhere", "started_s": 1.0}
        self.journal.start({"process": process, "world_size": 2, "nodes": ["n1"]})
        self.journal.tags({"host": "n1", "launches": "1"})
        self.journal.settings({"seed": "42", "train.epochs": "4", "train.global_batch": "64"})
        for split, digest in DIGESTS.items():
            self.journal.dataset("digits", split, digest, 1442 if split == "train" else 355)

    def __enter__(self) -> "MadeRun":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.journal.close()

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last):
            self.journal.metrics({"train/loss": 7 - step / 100, "train/lr": 1e-3}, step)

    def evaluated(self, step: int, top1: float, loss: float = 1.5, is_best: bool = True) -> Path:
        """Journal an evaluation and, as the best so far, its checkpoint; returns its folder."""
        scores = {"val/top1": top1, "val/top5": 99.0, "val/loss": loss}
        progress = {"progress/epoch": step / 22, "progress/images": 64.0 * step}
        self.journal.metrics(scores | progress | {"progress/gpu_hours": step / 1000}, step)
        checkpoint = self.folder.checkpoints / f"step-{step:08d}"
        if is_best:
            checkpoint.mkdir(parents=True)
            files = {"state-00.safetensors": {"bytes": 3, "sha256": "ef" * 32}}
            (checkpoint / "COMMITTED").write_text(json.dumps(files))
            model = {
                "folder": f"checkpoints/{checkpoint.name}",
                "epoch": step / 22,
                "metrics": {k: v if v == v else "NaN" for k, v in scores.items()},
                "dataset": "digits-validation",
            }
            self.write({"kind": "model", "t_ms": self._clock_ms(), "step": step, "model": model})
        return checkpoint

    def write(self, record: dict[str, Any] | bytes) -> None:
        """A line as it is, past what the journal would do to it."""
        line = record if isinstance(record, bytes) else json.dumps(record).encode() + b"\n"
        with self.folder.journal.open("ab") as file:
            file.write(line)

    def end(self, status: str = "FINISHED") -> None:
        self.journal.end(status, {})

    def sync(self, uri: str) -> SyncResult:
        (result,) = sync_runs([self.folder.path], uri)
        return result

    def synced(self, uri: str) -> "Stored":
        result = self.sync(uri)
        assert (result.outcome, result.problem) == ("synced", None)
        return self.stored(uri)

    def stored(self, uri: str) -> "Stored":
        return Stored(uri, str(read_run_info(self.folder.path)["mlflow_run_id"]), self.experiment)

    def _clock_ms(self) -> int:
        self._now_ms += 1000
        return self._now_ms


class Stored:
    """A run as a reader of MLflow sees it, without the code under test."""

    def __init__(self, uri: str, run_id: str, experiment: str):
        self.client, self.run_id = MlflowClient(uri), run_id
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None
        self.experiment_id = found.experiment_id

    @property
    def run(self) -> Any:
        return self.client.get_run(self.run_id)

    @property
    def tags(self) -> dict[str, str]:
        return self.run.data.tags

    @property
    def models(self) -> list[Any]:
        """Oldest checkpoint first; two of a step are two."""
        found = self.client.search_logged_models([self.experiment_id])
        return sorted(found, key=lambda model: int(model.tags["step"]))

    def history(self, key: str) -> list[tuple[int, int, str]]:
        points = self.client.get_metric_history(self.run_id, key)
        return sorted((point.step, point.timestamp, repr(point.value)) for point in points)

    def artifact(self, path: str) -> bytes:
        return Path(self.client.download_artifacts(self.run_id, path)).read_bytes()

    def artifacts(self, folder: str | None = None) -> list[str]:
        found: list[str] = []
        for entry in self.client.list_artifacts(self.run_id, folder):
            found += self.artifacts(entry.path) if entry.is_dir else [entry.path]
        return sorted(found)
