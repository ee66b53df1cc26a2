"""The MLflow side of the upload."""

from pipeline.tracking.upload.mlflow_store.connection import (
    StoreLacks,
    StoreRefused,
    StoreUnavailable,
)
from pipeline.tracking.upload.mlflow_store.models import BestCheckpoint, DatasetName
from pipeline.tracking.upload.mlflow_store.writing import (
    NOTE_TAG,
    RUN_KEY_TAG,
    TAG_LENGTH,
    MlflowRun,
    MlflowStore,
)

__all__ = [
    "NOTE_TAG",
    "RUN_KEY_TAG",
    "TAG_LENGTH",
    "BestCheckpoint",
    "DatasetName",
    "MlflowRun",
    "MlflowStore",
    "StoreLacks",
    "StoreRefused",
    "StoreUnavailable",
]
