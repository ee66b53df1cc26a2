"""Which MLflow store a run belongs to, decided without importing MLflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.redact import has_secret, redact

# Without its last part, MLflow 3 opens pages for language models, which show no training.
_RUNS_PAGE = "/#/experiments/{experiment}/runs{run}?workflowType=machine_learning"

DEFAULT_URI = "sqlite:///mlflow.db"
JOURNAL_ONLY = "journal"
"""``tracking.uri`` of a run that is never uploaded by itself."""

URI_VARIABLE = "MLFLOW_TRACKING_URI"
_SQLITE = "sqlite:///"
# Only these ignore a point that they hold already, which makes a replay harmless.
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class StoreUri:
    """The address of an MLflow store; ``uri`` may carry credentials, ``shown`` does not."""

    uri: str

    @property
    def shown(self) -> str:
        return redact(self.uri)

    @property
    def is_http(self) -> bool:
        return self.uri.startswith(("http://", "https://"))

    @property
    def sqlite_path(self) -> Path | None:
        """The database file, or None where the store is no SQLite file."""
        return Path(self.uri.removeprefix(_SQLITE)) if self.uri.startswith(_SQLITE) else None


def runs_page(experiment_id: str, run_id: str | None = None) -> str:
    """What follows the address of MLflow's UI to see an experiment's runs, or one of them."""
    run = "" if run_id is None else f"/{run_id}"
    return _RUNS_PAGE.format(experiment=experiment_id, run=run)


def parse_store(uri: str, working_dir: Path) -> StoreUri:
    """The store at ``uri``; a relative SQLite path counts from ``working_dir``.

    Raises UserError where points could be doubled there (``file:`` stores) or nothing is named.
    """
    scheme = uri.partition("://")[0].partition("+")[0]
    if "://" not in uri or scheme not in _SCHEMES:
        raise UserError(
            f"MLflow store {redact(uri)!r}: must start with one of "
            f"{', '.join(f'{name}://' for name in _SCHEMES)}; a local store is {DEFAULT_URI}"
        )
    if scheme != "sqlite":
        return StoreUri(uri.rstrip("/"))
    path = uri.removeprefix(_SQLITE)
    if not uri.startswith(_SQLITE) or not path:
        raise UserError(f"MLflow store {uri!r} names no file; write it like {DEFAULT_URI}")
    return StoreUri(_SQLITE + str((working_dir / path).absolute()))


def store_of_launch(
    configured: str | None, job_id: str | None, environment: Mapping[str, str], working_dir: Path
) -> StoreUri | None:
    """Where a training run uploads to while it runs; None is the journal only.

    Inside a Slurm job (``job_id``) SQLite is left out: its locks do not hold on a parallel file
    system. Raises UserError for an address that holds a password in the config, or is unusable.
    """
    if configured == JOURNAL_ONLY:
        return None
    if configured is not None and has_secret(configured):
        raise UserError(
            f"tracking.uri={redact(configured)} carries a password, which would be stored with the "
            "run; take it out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    store = parse_store(configured or environment.get(URI_VARIABLE) or DEFAULT_URI, working_dir)
    return None if job_id is not None and store.sqlite_path is not None else store


def store_of_sync(
    given: str | None, recorded: str | None, environment: Mapping[str, str], working_dir: Path
) -> StoreUri:
    """Where ``sync`` uploads to: the one given, else the run's own, else the environment's.

    ``recorded`` is as run.json holds it, so without credentials; the environment's address is
    taken in its place where it names the same store.
    """
    from_environment = environment.get(URI_VARIABLE)
    if given is not None:
        return parse_store(given, working_dir)
    if recorded is not None:
        own = parse_store(recorded, working_dir)
        if from_environment and parse_store(from_environment, working_dir).shown == own.shown:
            return parse_store(from_environment, working_dir)
        return own
    return parse_store(from_environment or DEFAULT_URI, working_dir)
