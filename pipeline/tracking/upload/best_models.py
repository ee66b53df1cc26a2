"""The best checkpoints of a run as logged models: what each shall be called, hold and link to."""

import contextlib
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from pipeline.redact import redact
from pipeline.tracking.run_folder import RunFolder
from pipeline.tracking.upload.batch import DIGEST_LENGTH, Checkpoint, sendable
from pipeline.tracking.upload.facts import RunFacts
from pipeline.tracking.upload.mlflow_store import BestCheckpoint, DatasetName

COMMITTED = "COMMITTED"
"""The list of a checkpoint's files, written last; see ``pipeline.checkpoint.folder``."""
FILE_NAME = "checkpoint.json"

# What MLflow does not take in the name of a model.
_NAME = str.maketrans(dict.fromkeys("/:.%\"'", "-"))


def best_models(
    facts: RunFacts, folder: RunFolder, run_key: str, run_name: str
) -> list[BestCheckpoint]:
    """One for each checkpoint that was the best when it was committed, the newest one last."""
    # One look at the folder, also for hundreds: most have been deleted long ago.
    kept = {mark.parent for mark in folder.checkpoints.absolute().glob(f"*/{COMMITTED}")}
    models: list[BestCheckpoint] = []
    for checkpoint in facts.checkpoints.values():
        path = folder.path.absolute() / checkpoint.folder
        tags = _origin(checkpoint, facts) | {
            "run_key": run_key,
            "checkpoint": sendable(str(path)),
            "checkpoint_kept": _word(path in kept),
            "is_best": _word(checkpoint is facts.last_checkpoint),
        }
        models.append(
            BestCheckpoint(
                key=model_key(run_key, checkpoint),
                name=f"{run_name}-step-{checkpoint.step}".translate(_NAME),
                step=checkpoint.step,
                params=facts.params,
                tags=tags,
                metrics=_metrics(checkpoint, facts),
                dataset=_dataset(checkpoint, facts),
            )
        )
    return models


def model_key(run_key: str, checkpoint: Checkpoint) -> str:
    """What tells the model of a checkpoint from all others."""
    return f"{run_key}/step-{checkpoint.step}"


def check_of(models: Sequence[BestCheckpoint]) -> str:
    """A digest that changes with anything that the store shall have."""
    # The params are the run's, the same for all.
    parts = [[m.key, m.name, m.tags, m.metrics, m.dataset] for m in models]
    text = json.dumps([parts, [models[0].params] if models else []], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def checkpoint_json(checkpoint: Checkpoint, facts: RunFacts, folder: RunFolder) -> bytes:
    """What a model's page has as a file: where the weights are and what they hash to.

    ``files`` is missing where the checkpoint was deleted before.
    """
    path = folder.path.absolute() / checkpoint.folder
    text: dict[str, Any] = {
        "folder": str(path),
        "host": facts.tags.get("host"),
        "step": checkpoint.step,
        "epoch": checkpoint.epoch,
        "dataset": checkpoint.dataset,
        # JSON has no NaN.
        "metrics": {k: v if math.isfinite(v) else str(v) for k, v in checkpoint.metrics.items()},
    }
    with contextlib.suppress(OSError, ValueError):
        text["files"] = json.loads((path / COMMITTED).read_text(encoding="utf-8"))
    return (redact(json.dumps(text, indent=2)) + "\n").encode()


def _origin(checkpoint: Checkpoint, facts: RunFacts) -> dict[str, str]:
    epoch, host = checkpoint.epoch, facts.tags.get("host")
    tags = {"step": str(checkpoint.step)}
    tags |= {} if epoch is None else {"epoch": f"{epoch:g}"}
    return tags | ({} if host is None else {"host": host})


def _metrics(checkpoint: Checkpoint, facts: RunFacts) -> dict[str, tuple[float, int]]:
    """The run's own points where it has them: another value or time would double them there."""
    metrics: dict[str, tuple[float, int]] = {}
    for key, value in checkpoint.metrics.items():
        score = facts.score(key, checkpoint.step)
        metrics[key] = (value, checkpoint.t_ms) if score is None else (score.value, score.t_ms)
    return metrics


def _dataset(checkpoint: Checkpoint, facts: RunFacts) -> DatasetName | None:
    name = checkpoint.dataset
    if name is None or name not in facts.digests:
        return None
    return DatasetName(name, facts.digests[name][:DIGEST_LENGTH])


def _word(truth: bool) -> str:
    return "true" if truth else "false"
