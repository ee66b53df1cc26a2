"""One MLflow store: its address, its errors in plain words, and the only import of mlflow."""

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import PreflightError
from pipeline.tracking.locks import exclusive
from pipeline.tracking.store_uri import StoreUri
from pipeline.tracking.upload.mlflow_store.reasons import reason

_SQLITE_MAGIC = b"SQLite format 3\0"

_OTHER_SCHEMA = "Detected out-of-date database schema"
_VERSION = re.compile(r"(\d+)\.\d+(\.\w+)*")

_REQUEST_TIMEOUT_S = 10
# MLflow would also repeat a request that makes something, and so make it twice; whoever calls
# tries again, after a look at what is there.
_REQUEST_RETRIES = 0

# A repetition of the request cannot change these answers.
_REFUSALS = {
    "INVALID_PARAMETER_VALUE",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "RESOURCE_DOES_NOT_EXIST",
    "INVALID_STATE",
}


class StoreUnavailable(PreflightError):
    """The store did not answer; a later try may get through."""


class StoreRefused(PreflightError):
    """The store answered no; it says why."""


class StoreLacks(StoreRefused):
    """The server is too old for this request."""


class Connection:
    """A store that answers, is writable and speaks this MLflow's language.

    ``client``: mlflow.MlflowClient; ``entities``: mlflow.entities. Raises StoreUnavailable or
    StoreRefused, whose text names the address.
    """

    def __init__(self, store: StoreUri):
        self.store = store
        _check_writable(store)
        mlflow: Any = _load_mlflow()
        self.entities: Any = mlflow.entities
        self.mlflow_error: type[Exception] = mlflow.MlflowException
        with self.asking(), _one_at_a_time(store):
            if store.is_http:
                self._check_version(mlflow.__version__)
            elif store.sqlite_path is None:
                _check_connects(store)
            self.client: Any = mlflow.MlflowClient(tracking_uri=store.uri)
            self.client.search_experiments(max_results=1)

    def refused(self, text: str) -> StoreRefused:
        """The error that says ``text`` of this store."""
        return StoreRefused(self._said(text))

    def unavailable(self, text: str) -> StoreUnavailable:
        """The error that says ``text`` of this store."""
        return StoreUnavailable(self._said(reason(text)))

    def _said(self, text: str) -> str:
        return f"MLflow at {self.store.shown}: {text}"

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Requests to the store: what fails in the block becomes one of our two errors."""
        mlflow: Any = _load_mlflow()
        # MLflow's own; some of their errors pass through.
        import alembic.util
        import sqlalchemy.exc

        try:
            with _quiet():
                yield
        except mlflow.MlflowException as error:
            if str(error).startswith(_OTHER_SCHEMA):
                raise self._other_schema(mlflow.__version__) from None
            if error.error_code == "ENDPOINT_NOT_FOUND":
                raise StoreLacks(self._said(reason(str(error)))) from None
            if error.error_code in _REFUSALS:
                raise self.refused(reason(str(error))) from None
            raise self.unavailable(str(error)) from None
        except (OSError, sqlalchemy.exc.SQLAlchemyError) as error:
            raise self.unavailable(f"{type(error).__name__}: {error}") from None
        except alembic.util.CommandError:
            raise self._other_schema(mlflow.__version__) from None
        except ImportError as error:
            raise self.refused(f"{error}; install the driver of this database") from None

    @contextlib.contextmanager
    def sending_files(self) -> Iterator[None]:
        """Like ``asking``, for artifacts: each of their stores has errors of its own kind."""
        try:
            with self.asking():
                yield
        except (StoreRefused, StoreUnavailable):
            raise
        except Exception as error:
            raise self.unavailable(f"artifacts: {type(error).__name__}: {error}") from error

    def artifact_location(self, experiment: str) -> str | None:
        """Where the artifacts of a new experiment lie; None leaves it to the server."""
        path = self.store.sqlite_path
        return None if path is None else (_artifact_root(path) / experiment).as_uri()

    def _other_schema(self, ours: str) -> StoreRefused:
        return self.refused(
            f"its tables were made by another version of MLflow than this client's, {ours}; if by "
            f"an older one, `mlflow db upgrade {self.store.shown}` brings them up to date (make a "
            "copy first), else upgrade this client"
        )

    def _check_version(self, ours: str) -> None:
        """Another major version may take what it does not understand, or drop it."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        answer: Any = http_request(get_default_host_creds(self.store.uri), "/version", "GET")
        theirs = _VERSION.fullmatch(answer.text.strip()) if answer.ok else None
        # What is no version comes from a gateway that hides the page; the requests will tell.
        if theirs is not None and theirs[1] != ours.partition(".")[0]:
            raise self.refused(
                f"the server is MLflow {theirs[0]}, this client is {ours}; their major versions "
                f"must agree: upgrade the older one, or name another store"
            )


def _load_mlflow() -> Any:
    """Import MLflow with short timeouts."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(_REQUEST_TIMEOUT_S))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(_REQUEST_RETRIES))
    # A server may ask to be left alone for hours; the pace of tries is the caller's.
    os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")
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


def _check_connects(store: StoreUri) -> None:
    """MLflow would try a database that is down for 100 seconds before it says so."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(store.uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


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
