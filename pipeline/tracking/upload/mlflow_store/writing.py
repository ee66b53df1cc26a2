"""What is written of a run: metrics, params, tags, datasets, state, artifacts."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.tracking.store_uri import StoreUri
from pipeline.tracking.upload.batch import DIGEST_LENGTH, RunState
from pipeline.tracking.upload.mlflow_store.connection import Connection, StoreUnavailable
from pipeline.tracking.upload.mlflow_store.models import BestCheckpoint, ModelShelf
from pipeline.tracking.upload.mlflow_store.points import PointLog
from pipeline.tracking.upload.mlflow_store.reasons import cut

RUN_KEY_TAG = "pipeline.run_key"
NOTE_TAG = "mlflow.note.content"

# MLflow's limits per request and per text, less a little for its escapes.
_PARAMS_PER_REQUEST = 100
_TAGS_PER_REQUEST = 100
_PARAM_LENGTH = 6000
TAG_LENGTH = 5000

# Without it MLflow's page of an experiment opens as one of language models and their traces.
_KIND_TAG, _KIND = "mlflow.experimentKind", "custom_model_development"


@dataclass(frozen=True)
class MlflowRun:
    """A run in the store, with its tags as they were on opening.

    ``deleted``: somebody removed it there.
    """

    experiment_id: str
    run_id: str
    deleted: bool = False
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


class MlflowStore:
    """A store that takes the same things twice without doubling them.

    Every method raises StoreUnavailable or StoreRefused, whose text names the address.
    """

    def __init__(self, store: StoreUri):
        self._connection = Connection(store)
        self._client, self._entities = self._connection.client, self._connection.entities

    def open_run(
        self,
        run_key: str,
        experiment: str,
        name: str,
        start_ms: int,
        tags: Mapping[str, str] | None = None,
    ) -> MlflowRun:
        """The run of this key, made, with ``tags``, where there is none yet."""
        with self._connection.asking():
            experiment_id = self._experiment(experiment)
            # 3 is ViewType.ALL: deleted ones too, which must not come back as new ones.
            found = self._client.search_runs(
                [experiment_id], f"tags.`{RUN_KEY_TAG}` = '{run_key}'", run_view_type=3
            )
            active = [run for run in found if run.info.lifecycle_stage != "deleted"]
            if found and not active:
                return MlflowRun(experiment_id, found[0].info.run_id, deleted=True)
            if active:
                run = self._the_one(active)
            else:
                key = {RUN_KEY_TAG: run_key}
                run = self._client.create_run(
                    experiment_id, start_time=start_ms, tags={**(tags or {}), **key}, run_name=name
                )
            return MlflowRun(experiment_id, run.info.run_id, tags=dict(run.data.tags))

    def points(self, run_id: str) -> PointLog:
        """Takes the run's metrics."""
        return PointLog(self._connection, run_id)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Settings; each is written once, and again only with the same value."""
        settings = [self._entities.Param(k, cut(v, _PARAM_LENGTH)) for k, v in params.items()]
        with self._connection.asking():
            for some in _portions(settings, _PARAMS_PER_REQUEST):
                self._client.log_batch(run_id, params=some)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Tags; the last write of a key counts."""
        texts = [self._entities.RunTag(key, cut(text, TAG_LENGTH)) for key, text in tags.items()]
        with self._connection.asking():
            for some in _portions(texts, _TAGS_PER_REQUEST):
                self._client.log_batch(run_id, tags=some)

    def tags(self, run_id: str) -> dict[str, str]:
        """The tags of the run as they are now, whoever wrote them."""
        with self._connection.asking():
            return dict(self._client.get_run(run_id).data.tags)

    def log_datasets(self, run_id: str, datasets: Sequence[dict[str, Any]]) -> None:
        """Datasets as inputs of the run; the whole digest stands in the profile."""
        entities = self._entities
        inputs = [
            entities.DatasetInput(
                entities.Dataset(
                    name=f"{dataset['name']}-{dataset['split']}",
                    digest=str(dataset["digest"])[:DIGEST_LENGTH],
                    source_type="shards",
                    source=json.dumps({"name": dataset["name"], "split": dataset["split"]}),
                    profile=json.dumps(
                        {"samples": dataset["samples"], "digest": str(dataset["digest"])}
                    ),
                ),
                [entities.InputTag("mlflow.data.context", dataset["split"])],
            )
            for dataset in datasets
        ]
        if not inputs:
            return
        try:
            with self._connection.asking():
                self._client.log_inputs(run_id, datasets=inputs)
        except StoreUnavailable:
            # Of two runs that bring a dataset at the same time, the database refuses one, which
            # finds it there when it asks again.
            with self._connection.asking():
                self._client.log_inputs(run_id, datasets=inputs)

    def set_state(self, run_id: str, state: RunState) -> None:
        """The run's status, its end and the tag ``state``."""
        with self._connection.asking():
            self._client.set_tag(run_id, "state", state.tag)
            if state.ended_ms is None:
                self._client.update_run(run_id, status=state.status)
            else:
                self._client.set_terminated(run_id, state.status, state.ended_ms)

    def log_models(
        self, run: MlflowRun, wanted: Sequence[BestCheckpoint], known: Mapping[str, str]
    ) -> dict[str, str]:
        """See ``ModelShelf.bring_up_to_date``."""
        return ModelShelf(self._connection, run.experiment_id, run.run_id).bring_up_to_date(
            wanted, known
        )

    def log_file(self, run_id: str, content: bytes, path: str) -> None:
        """An artifact of the run at ``path``, with / between folders; replaces the one there."""
        parent = str(PurePosixPath(path).parent)
        with self._as_file(content, path) as local:
            self._client.log_artifact(run_id, str(local), None if parent == "." else parent)

    def log_model_file(self, model_id: str, content: bytes, name: str) -> None:
        """An artifact of a logged model; replaces the one of this name."""
        with self._as_file(content, name) as local:
            self._client.log_model_artifact(model_id, str(local))

    def _the_one(self, runs: list[Any]) -> Any:
        """A request to make the run whose answer came too late leaves an empty one behind."""
        first, *others = sorted(
            runs, key=lambda run: (not run.data.metrics, not run.data.params, run.info.run_id)
        )
        for run in others:
            if not run.data.metrics and not run.data.params:
                self._client.delete_run(run.info.run_id)
        return first

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            found = self._new_experiment(name)
        if found.lifecycle_stage == "deleted":
            raise self._connection.refused(
                f"experiment {name!r} was deleted there; "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}` brings it back"
            )
        if _KIND_TAG not in found.tags:
            self._client.set_experiment_tag(found.experiment_id, _KIND_TAG, _KIND)
        return found.experiment_id

    def _new_experiment(self, name: str) -> Any:
        location = self._connection.artifact_location(name)
        try:
            self._client.create_experiment(name, location, {_KIND_TAG: _KIND})
        except self._connection.mlflow_error as error:
            # Another run of the same sweep may have been faster.
            if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
                raise
        return self._client.get_experiment_by_name(name)

    @contextlib.contextmanager
    def _as_file(self, content: bytes, path: str) -> Iterator[Path]:
        with self._connection.sending_files(), tempfile.TemporaryDirectory() as folder:
            local = Path(folder, PurePosixPath(path).name)
            local.write_bytes(content)
            yield local


def _portions(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
