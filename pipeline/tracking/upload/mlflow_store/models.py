"""Best checkpoints as logged models of MLflow 3: a page each, linked to the run and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.tracking.upload.mlflow_store.connection import Connection

MODEL_KEY_TAG = "pipeline.model_key"
MODEL_TYPE = "checkpoint"


class DatasetName(NamedTuple):
    """A dataset as the run's inputs name it."""

    name: str
    digest: str


@dataclass(frozen=True)
class BestCheckpoint:
    """What the logged model of one checkpoint shall be.

    ``key`` tells it from every other of any run. ``metrics`` are those of the evaluation that
    made it the best, with the milliseconds since the epoch at which the run has them.
    """

    key: str
    name: str
    step: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, tuple[float, int]]
    dataset: DatasetName | None


class ModelShelf:
    """The logged models of one run. Raises StoreUnavailable, StoreRefused, or StoreLacks."""

    def __init__(self, connection: Connection, experiment_id: str, run_id: str):
        self._connection = connection
        self._client, self._entities = connection.client, connection.entities
        self._experiment_id, self._run_id = experiment_id, run_id

    def bring_up_to_date(
        self, wanted: Sequence[BestCheckpoint], known: Mapping[str, str]
    ) -> dict[str, str]:
        """Make what is missing and mend what differs; the model ids by the checkpoints' keys.

        ``known`` are the ids from before: one that is gone was deleted in MLflow and stays so.
        """
        with self._connection.asking():
            found = self._found()
            run = self._client.get_run(self._run_id)
            linked = {output.model_id for output in run.outputs.model_outputs}
            ids = dict(known)
            for checkpoint in wanted:
                model = found.get(checkpoint.key)
                if model is None and checkpoint.key in known:
                    continue
                model = model or self._made(checkpoint)
                self._complete(model, checkpoint)
                if model.model_id not in linked:
                    output = self._entities.LoggedModelOutput(model.model_id, checkpoint.step)
                    self._client.log_outputs(self._run_id, [output])
                ids[checkpoint.key] = model.model_id
        return ids

    def _found(self) -> dict[str, Any]:
        """The run's models by key; a second one of a key came of an answer that was too late."""
        found: dict[str, Any] = {}
        token = None
        while True:
            page = self._client.search_logged_models(
                [self._experiment_id], f"source_run_id = '{self._run_id}'", page_token=token
            )
            for model in sorted(page, key=lambda m: (m.creation_timestamp, m.model_id)):
                key = model.tags.get(MODEL_KEY_TAG)
                if key in found:
                    self._client.delete_logged_model(model.model_id)
                elif key is not None:
                    found[key] = model
            token = page.token
            if not token:
                return found

    def _made(self, checkpoint: BestCheckpoint) -> Any:
        # With the key in the request that makes it, and the rest after: whatever breaks off
        # between, the model is found again.
        return self._client.create_logged_model(
            self._experiment_id,
            name=checkpoint.name,
            source_run_id=self._run_id,
            tags={MODEL_KEY_TAG: checkpoint.key} | dict(checkpoint.tags),
            model_type=MODEL_TYPE,
        )

    def _complete(self, model: Any, checkpoint: BestCheckpoint) -> None:
        params = {k: v for k, v in checkpoint.params.items() if k not in (model.params or {})}
        if params:
            self._client.log_model_params(model.model_id, params)
        self._log_metrics(model, checkpoint)
        if str(model.status) != "READY":
            self._client.finalize_logged_model(model.model_id, "READY")
        tags = {k: v for k, v in checkpoint.tags.items() if model.tags.get(k) != v}
        if tags:
            self._client.set_logged_model_tags(model.model_id, tags)

    def _log_metrics(self, model: Any, checkpoint: BestCheckpoint) -> None:
        """As the run has them, to the millisecond, so they are no second point of the run."""
        has = {metric.key for metric in model.metrics or []}
        dataset = checkpoint.dataset
        metrics = [
            self._entities.Metric(
                key,
                value,
                t_ms,
                checkpoint.step,
                model_id=model.model_id,
                dataset_name=None if dataset is None else dataset.name,
                dataset_digest=None if dataset is None else dataset.digest,
            )
            for key, (value, t_ms) in checkpoint.metrics.items()
            # MLflow stores NaN of a model as 0.
            if key not in has and math.isfinite(value)
        ]
        if metrics:
            self._client.log_batch(self._run_id, metrics=metrics)
