"""What is read back of runs: params, tags, datasets, metric histories."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tracking.store_uri import StoreUri
from pipeline.tracking.upload.mlflow_store.connection import Connection, StoreRefused
from pipeline.tracking.upload.mlflow_store.writing import RUN_KEY_TAG

_RUNS_PER_REQUEST = 1000
_REQUESTS_AT_ONCE = 8
_LEFT_OUT = "system/"
# MLflow keeps infinity so where a database has none.
_INFINITY = 1.7976931348623157e308


@dataclass(frozen=True)
class StoredRun:
    """A run as a store has it. ``started_ms``: milliseconds since the epoch."""

    run_id: str
    run_key: str
    name: str
    experiment: str
    status: str
    """MLflow's; the tag ``state`` says more."""
    started_ms: int
    params: dict[str, str]
    tags: dict[str, str]
    digests: dict[str, str]
    """sha256 by ``<dataset>-<split>``."""
    metrics: tuple[str, ...]
    """Names of its metrics, but for the machine's load."""


@dataclass(frozen=True)
class MetricHistory:
    """All points of a metric, by step. Each (N,): int64, float64, int64 (ms since the epoch)."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    t_ms: NDArray[np.int64]


class StoreReader:
    """Reads the runs of this pipeline; others in the store are none of its business.

    Every method raises StoreUnavailable or StoreRefused, whose text names the address.
    """

    def __init__(self, store: StoreUri):
        if store.sqlite_path is not None and not store.sqlite_path.is_file():
            # MLflow would make an empty one.
            raise StoreRefused(f"MLflow at {store.shown}: there is no such file; name another")
        self._connection = Connection(store)
        self._client = self._connection.client

    def experiments(self) -> list[str]:
        """Names of the experiments that are not deleted."""
        with self._connection.asking():
            return [found.name for found in self._client.search_experiments()]

    def runs(self, experiment: str | None = None) -> list[StoredRun]:
        """All runs, or those of an experiment, the oldest first."""
        with self._connection.asking():
            names = {
                found.experiment_id: found.name
                for found in self._client.search_experiments()
                if experiment in (None, found.name)
            }
            found = [_stored(run, names) for run in self._search(list(names))]
        return sorted(found, key=lambda run: (run.started_ms, run.name))

    def histories(self, run: StoredRun) -> dict[str, MetricHistory]:
        """All points of its metrics."""
        with self._connection.asking(), ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            found = pool.map(lambda key: self._history(run.run_id, key), run.metrics)
            return dict(zip(run.metrics, found, strict=True))

    def _search(self, experiments: list[str]) -> Iterator[Any]:
        token = None
        while experiments:
            page = self._client.search_runs(
                experiments,
                f"tags.`{RUN_KEY_TAG}` != ''",
                max_results=_RUNS_PER_REQUEST,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _history(self, run_id: str, key: str) -> MetricHistory:
        points = self._client.get_metric_history(run_id, key)
        steps = np.array([point.step for point in points], dtype=np.int64)
        values = np.array([point.value for point in points], dtype=np.float64)
        t_ms = np.array([point.timestamp for point in points], dtype=np.int64)
        steps, first = np.unique(steps, return_index=True)
        values = values[first]
        endless = np.abs(values) >= _INFINITY
        values[endless] = np.copysign(np.inf, values[endless])
        return MetricHistory(steps, values, t_ms[first])


def _stored(run: Any, experiments: dict[str, str]) -> StoredRun:
    tags = dict(run.data.tags)
    return StoredRun(
        run_id=run.info.run_id,
        run_key=tags[RUN_KEY_TAG],
        name=run.info.run_name,
        experiment=experiments[run.info.experiment_id],
        status=run.info.status,
        started_ms=int(run.info.start_time),
        params=dict(run.data.params),
        tags=tags,
        digests={
            found.dataset.name: _digest(found.dataset)
            for found in (run.inputs.dataset_inputs if run.inputs else [])
        },
        metrics=tuple(key for key in sorted(run.data.metrics) if not key.startswith(_LEFT_OUT)),
    )


def _digest(dataset: Any) -> str:
    """The whole one stands in the profile; MLflow's own field holds 36 characters."""
    try:
        return str(json.loads(dataset.profile)["digest"])
    except (TypeError, ValueError, KeyError):
        return str(dataset.digest)
