"""Metric points on their way to a run, without those that it has."""

from collections.abc import Sequence
from typing import Any

from pipeline.tracking.upload.batch import Point
from pipeline.tracking.upload.mlflow_store.connection import Connection

_PER_REQUEST = 1000

Place = tuple[int, int]
"""Step and milliseconds since the epoch: a point of a metric by what tells it from the others."""


class PointLog:
    """Sends the points of one run, in the order of its journal.

    MLflow ignores a point that it has, but takes far longer over it than over a new one.
    A point beyond the last one of its metric is new; of the others the history tells.
    Raises StoreUnavailable or StoreRefused.
    """

    def __init__(self, connection: Connection, run_id: str):
        self._connection, self._client = connection, connection.client
        self._run_id = run_id
        self._last: dict[str, Place] | None = None
        self._history: dict[str, set[Place]] = {}

    def send(self, points: Sequence[Point]) -> None:
        """All of ``points`` that the run has not got."""
        try:
            with self._connection.asking():
                new = self._new(points)
                for start in range(0, len(new), _PER_REQUEST):
                    self._client.log_batch(self._run_id, new[start : start + _PER_REQUEST])
        except BaseException:
            # Who knows what has arrived?
            self._last, self._history = None, {}
            raise

    def _new(self, points: Sequence[Point]) -> list[Any]:
        if self._last is None:
            run = self._client.get_run(self._run_id)
            metrics = run.data.to_proto().metrics
            self._last = {m.key: (m.step, m.timestamp) for m in metrics}
        Metric = self._connection.entities.Metric
        return [
            Metric(point.key, point.value, point.t_ms, point.step)
            for point in points
            if not self._has(point)
        ]

    def _has(self, point: Point) -> bool:
        assert self._last is not None
        place = (point.step, point.t_ms)
        last = self._last.get(point.key)
        if last is None or place > last:
            return False
        if point.key not in self._history:
            history = self._client.get_metric_history(self._run_id, point.key)
            self._history[point.key] = {(metric.step, metric.timestamp) for metric in history}
        return place in self._history[point.key]
