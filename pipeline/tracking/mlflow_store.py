"""The MLflow side of the upload, and the only file that imports mlflow."""

import contextlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import PreflightError
from pipeline.tracking.batch import Point, RunState
from pipeline.tracking.locks import exclusive
from pipeline.tracking.redact import redact
from pipeline.tracking.store_uri import StoreUri

RUN_KEY_TAG = "pipeline.run_key"

# MLflow's limits per request and per text, less a little for its escapes.
_METRICS_PER_REQUEST = 1000
_PARAMS_PER_REQUEST = 100
_TAGS_PER_REQUEST = 100
_PARAM_LENGTH = 6000
_TAG_LENGTH = 5000
_DIGEST_LENGTH = 36

_SQLITE_MAGIC = b"SQLite format 3\0"

_REASON_LENGTH = 300
_ERRNO = re.compile(r"\[Errno -?\d+\] ([\w ]+)")

_REQUEST_TIMEOUT_S = 10
_REQUEST_RETRIES = 1

# A repetition of the request cannot change these answers.
_REFUSALS = {
    "INVALID_PARAMETER_VALUE",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "RESOURCE_DOES_NOT_EXIST",
    "INVALID_STATE",
    "ENDPOINT_NOT_FOUND",
}


class StoreUnavailable(PreflightError):
    """The store did not answer; a later try may get through."""


class StoreRefused(PreflightError):
    """The store answered no; it says why."""


@dataclass(frozen=True)
class MlflowRun:
    """A run in the store. ``deleted``: somebody removed it there."""

    experiment_id: str
    run_id: str
    deleted: bool = False


class MlflowStore:
    """A store that takes the same things twice without doubling them.

    Every method raises StoreUnavailable or StoreRefused, whose text names the address.
    """

    def __init__(self, store: StoreUri):
        self._store = store
        _check_writable(store)
        with self._asking(), _one_at_a_time(store):
            self._client: Any = _load_mlflow().MlflowClient(tracking_uri=store.uri)
            self._client.search_experiments(max_results=1)

    def open_run(self, run_key: str, experiment: str, name: str, start_ms: int) -> MlflowRun:
        """The run of this key, made where there is none yet."""
        with self._asking():
            experiment_id = self._experiment(experiment)
            # 3 is ViewType.ALL: deleted ones too, which must not come back as new ones.
            found = self._client.search_runs(
                [experiment_id], f"tags.`{RUN_KEY_TAG}` = '{run_key}'", run_view_type=3
            )
            if found:
                deleted = found[0].info.lifecycle_stage == "deleted"
                return MlflowRun(experiment_id, found[0].info.run_id, deleted)
            made = self._client.create_run(
                experiment_id, start_time=start_ms, tags={RUN_KEY_TAG: run_key}, run_name=name
            )
            return MlflowRun(experiment_id, made.info.run_id)

    def log(
        self, run_id: str, points: Sequence[Point], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        """Metrics, params and tags, in as many requests as the limits need."""
        entities: Any = _load_mlflow().entities
        metrics = [entities.Metric(p.key, p.value, p.t_ms, p.step) for p in points]
        settings = [entities.Param(k, _cut(v, _PARAM_LENGTH)) for k, v in params.items()]
        texts = [entities.RunTag(k, _cut(v, _TAG_LENGTH)) for k, v in _with_source(tags).items()]
        with self._asking():
            for some in _portions(metrics, _METRICS_PER_REQUEST):
                self._client.log_batch(run_id, metrics=some)
            for some in _portions(settings, _PARAMS_PER_REQUEST):
                self._client.log_batch(run_id, params=some)
            for some in _portions(texts, _TAGS_PER_REQUEST):
                self._client.log_batch(run_id, tags=some)

    def log_datasets(self, run_id: str, datasets: Sequence[dict[str, Any]]) -> None:
        """Datasets as inputs of the run; the whole digest stands in the profile."""
        entities: Any = _load_mlflow().entities
        inputs = [
            entities.DatasetInput(
                entities.Dataset(
                    name=f"{dataset['name']}-{dataset['split']}",
                    digest=str(dataset["digest"])[:_DIGEST_LENGTH],
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
        if inputs:
            with self._asking():
                self._client.log_inputs(run_id, datasets=inputs)

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """A text as an artifact of the run; replaces the one of this name."""
        with self._asking():
            self._client.log_text(run_id, text, name)

    def set_state(self, run_id: str, state: RunState) -> None:
        """The run's status, its end and the tag ``state``."""
        with self._asking():
            self._client.set_tag(run_id, "state", state.tag)
            if state.ended_ms is None:
                self._client.update_run(run_id, status=state.status)
            else:
                self._client.set_terminated(run_id, state.status, state.ended_ms)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return self._client.create_experiment(name, self._artifact_location(name))
            except _load_mlflow().MlflowException as error:
                # Another run of the same sweep may have been faster.
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self._client.get_experiment_by_name(name)
        if found.lifecycle_stage == "deleted":
            raise StoreRefused(
                f"MLflow at {self._store.shown}: experiment {name!r} was deleted there; "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}` brings it back"
            )
        return found.experiment_id

    def _artifact_location(self, experiment: str) -> str | None:
        path = self._store.sqlite_path
        return None if path is None else (_artifact_root(path) / experiment).as_uri()

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        mlflow: Any = _load_mlflow()
        import sqlalchemy.exc  # MLflow's own; some of its errors pass through

        try:
            with _quiet():
                yield
        except mlflow.MlflowException as error:
            text = f"MLflow at {self._store.shown}: {_reason(str(error))}"
            if error.error_code in _REFUSALS:
                raise StoreRefused(text) from None
            raise StoreUnavailable(text) from None
        except (OSError, sqlalchemy.exc.SQLAlchemyError) as error:
            reason = _reason(f"{type(error).__name__}: {error}")
            raise StoreUnavailable(f"MLflow at {self._store.shown}: {reason}") from None
        except ImportError as error:
            raise StoreRefused(
                f"MLflow at {self._store.shown}: {error}; install the driver of this database"
            ) from None


def _load_mlflow() -> Any:
    """Import MLflow with short timeouts."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(_REQUEST_TIMEOUT_S))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(_REQUEST_RETRIES))
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with _quiet():
        import mlflow
        import mlflow.entities

    return mlflow


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of MLflow and alembic, whose configuration sets the level of loggers."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _one_at_a_time(store: StoreUri) -> Iterator[None]:
    """Two processes that make the tables of one SQLite file at once break each other's."""
    if store.sqlite_path is None:
        yield
        return
    folder = _artifact_root(store.sqlite_path)
    folder.mkdir(exist_ok=True)
    with exclusive(folder / ".lock"):
        yield


def _artifact_root(sqlite_path: Path) -> Path:
    return sqlite_path.parent / "mlruns"


def _check_writable(store: StoreUri) -> None:
    """MLflow would try an unwritable file for minutes."""
    path = store.sqlite_path
    if path is None:
        return
    if not path.parent.is_dir():
        raise StoreRefused(f"MLflow at {store.shown}: there is no folder {path.parent}; make it")
    target = path if path.exists() else path.parent
    if not os.access(target, os.W_OK):
        raise StoreRefused(f"MLflow at {store.shown}: {target} is not writable; name another store")
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(_SQLITE_MAGIC)) != _SQLITE_MAGIC:
                raise StoreRefused(f"MLflow at {store.shown}: this file is no SQLite database")


def _reason(text: str) -> str:
    """What a person needs of an error's text; requests wraps the cause three times."""
    if cause := _ERRNO.search(text):
        return f"does not answer ({cause[1]})"
    return _cut(redact(text).splitlines()[0], _REASON_LENGTH)


def _with_source(tags: dict[str, str]) -> dict[str, str]:
    """The commit also under the name that MLflow shows in its columns."""
    commit = tags.get("git_commit")
    return tags if commit is None else tags | {"mlflow.source.git.commit": commit}


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _portions(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
