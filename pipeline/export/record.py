"""What a run has left behind about one of its checkpoints; no torch."""

from dataclasses import dataclass, field

from pipeline.tracking.journal import metric_values, read_journal
from pipeline.tracking.run_folder import RunFolder, read_run_info


@dataclass(frozen=True)
class Record:
    """Figures and circumstances of a training up to a step."""

    metrics: dict[str, float] = field(default_factory=dict[str, float])
    """Last values by their names in the journal; ``val/...`` are those of the step itself."""
    tags: dict[str, str] = field(default_factory=dict[str, str])
    """Versions, commit, ranks."""
    datasets: dict[str, str] = field(default_factory=dict[str, str])
    """sha256 (hex) of the shards per ``<dataset>-<split>``."""


def read_record(run: RunFolder, step: int) -> Record:
    """The record of the checkpoint at that step. Raises DataError where run.json is damaged."""
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    for record in read_journal(run.journal).records if run.journal.is_file() else []:
        if record["kind"] == "metrics" and int(record["step"]) <= step:
            is_now = int(record["step"]) == step
            found = metric_values(record).items()
            metrics |= {key: value for key, value in found if is_now or not key.startswith("val/")}
        if record["kind"] == "tags":
            tags |= record["tags"]
    return Record(metrics, tags, read_run_info(run.path).get("datasets", {}))
