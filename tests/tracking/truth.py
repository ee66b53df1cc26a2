"""The store beside the journal: what is missing there, and what is there twice."""

import math
import sys
from collections import defaultdict
from typing import Any

from mlflow import MlflowClient

from pipeline.tracking import RunFolder, read_run_info
from pipeline.tracking.journal import metric_values, read_journal

Points = list[tuple[int, int, str]]
"""Step, time in ms, value; as text, because NaN equals nothing."""


def the_run(folder: RunFolder, uri: str) -> Any:
    """The only run in the store that has this folder's key."""
    client = MlflowClient(uri)
    info = read_run_info(folder.path)
    experiment = client.get_experiment_by_name(info["experiment"])
    assert experiment is not None
    wanted = f"tags.`pipeline.run_key` = '{info['run_key']}'"
    (run,) = client.search_runs([experiment.experiment_id], wanted)
    return run


def check_store(folder: RunFolder, uri: str, status: str, state: str) -> int:
    """Assert that the store has the journal's points, params, tags and data sets, each once.

    status, state: MLflow's status and the tag ``state``. Returns how many steps have a
    loss.
    """
    run = the_run(folder, uri)
    client = MlflowClient(uri)
    wanted: defaultdict[str, Points] = defaultdict(list)
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    datasets: set[str] = set()
    for record in read_journal(folder.journal).records:
        for key, value in metric_values(record).items():
            wanted[key].append((record["step"], record["t_ms"], repr(_as_stored(value))))
        params |= record.get("params", {})
        tags |= record.get("tags", {})
        if "dataset" in record:
            datasets.add(f"{record['dataset']['name']}-{record['dataset']['split']}")
    assert set(run.data.metrics) == set(wanted)
    for key, points in wanted.items():
        history = client.get_metric_history(run.info.run_id, key)
        stored = sorted((p.step, p.timestamp, repr(p.value)) for p in history)
        assert stored == sorted(points), key
    assert params.items() <= run.data.params.items()
    assert tags.items() <= run.data.tags.items()
    inputs = [i.dataset.name for i in run.inputs.dataset_inputs]
    assert sorted(inputs) == sorted(datasets)
    assert (run.info.status, run.data.tags["state"]) == (status, state)
    return len(wanted["train/loss"])


def _as_stored(value: float) -> float:
    """MLflow's databases have no infinity, and keep the largest number in its place."""
    return max(-sys.float_info.max, min(sys.float_info.max, value)) if math.isinf(value) else value
